"""The decode curve's arithmetic is the kernel's own: its tiles and its splits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels_ref.configs import pick
from kernels_ref.splits import choose
from kvsim.cost.curves.paged import TILES, chosen, tile

ROWS = st.lists(
    st.tuples(st.integers(1, 3000), st.integers(1, 1200), st.sampled_from([1, 2, 4, 8])), min_size=1, max_size=20
)


@given(ROWS, st.sampled_from([108, 132, 142]))
def test_splits_are_those_of_the_kernel(rows: list[tuple[int, int, int]], sms: int) -> None:
    count, blocks, resident = np.array(rows, float).T
    parts, each = chosen(count, blocks, sms, resident)
    for i, (many, long, together) in enumerate(rows):
        split = choose(many, long * 64, 64, sms, together)
        assert (split.splits, split.tokens) == (parts[i], each[i] * 64)


@given(st.sampled_from([1, 2]), st.integers(1, 4096), st.integers(1, 200_000), st.sampled_from([64, 96, 128]))
def test_tiles_are_those_of_the_kernel(width: int, rows: int, tokens: int, dim: int) -> None:
    kv_bytes = 2 * rows * tokens * dim * width
    config = pick(width, rows, tokens, kv_bytes)
    found = TILES[tile(float(width), np.array(float(rows)), np.array(float(tokens)), np.array(float(kv_bytes)))]
    assert found.tolist() == [config.block_n, config.ctas_per_sm]
