"""What the cost side knows of the executor's kernels is what they do."""

import pytest

pytest.importorskip("torch")

from kernels_ref.configs import pick
from kernels_ref.executor.kernels import cases
from kernels_ref.executor.policies import CACHES, WIDTH_TOKENS
from kernels_ref.splits import choose
from kvsim.cost.executed import paged
from kvsim.cost.executed.step import PAPERS


def test_widths_of_tables_and_policies() -> None:
    assert paged.WIDTHS == WIDTH_TOKENS and set(PAPERS) == set(CACHES)


@pytest.mark.parametrize("element_bytes", [1, 2])
def test_tiles_and_splits(element_bytes: int) -> None:
    for rows in (1, 8, 64, 192, 448, 1024, 4096):
        for width in (64, 128, 384, 1536, 6144, 20096):
            config = pick(element_bytes, rows, width, 2 * rows * width * 128 * element_bytes)
            split = choose(rows, width, config.block_n, 132, config.ctas_per_sm)
            found = paged.choice(rows, width, 128, float(element_bytes), 132)
            assert found == (config.block_n, config.ctas_per_sm, split.splits, split.tokens // config.block_n)


def test_steps_whose_kernels_are_listed() -> None:
    found = cases("llama-3-8b")
    assert len(found) > 25 and {case.policy for case in found} <= set(CACHES)
