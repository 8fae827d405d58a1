"""Seconds of KIVI's decode kernel in a step: unlike lengths, each with a block of youngest tokens at 16 bits.

`kvsim/cost/curves/packed.py` has packed pages of one length alone, as they were measured.
"""

from collections.abc import Sequence
from math import ceil

import numpy as np

from kvsim.cost.curves import bodies, partial_bytes
from kvsim.cost.curves.packed import PAGE, PackedDecodeCurve, chosen, packed_bytes, slots_of
from kvsim.cost.geometry import Geometry
from kvsim.specs.hardware import Chip

IN_STEP_S = 4e-6  # what 11 x 2,900 tokens of Llama-3-8B take longer in a layer of a step on an H100 than by themselves


def seconds(
    curve: PackedDecodeCurve, chip: Chip, geo: Geometry, kept: Sequence[int], padded: int, bits: int, width_tokens: int
) -> float:
    """Seconds of one layer: the table's width decides how many pages a program takes, a row how many programs it has.

    Args:
        kept: tokens of each decoding sequence. padded: rows of the batch. width_tokens: of a row of the table.
    """
    heads, kv_heads, dim = geo.query_heads, geo.kv_heads, geo.key_dim
    slots = int(slots_of(chip, heads / kv_heads))
    width = max(1, ceil(width_tokens / PAGE))
    each = float(chosen(np.array(padded * kv_heads), np.array(width), np.array(slots)).item())
    pages = [tokens // PAGE for tokens in kept]
    bytes_per_s = curve.memory_share * chip.memory.bandwidth
    parts = ceil(width / each)
    merged_s: float = partial_bytes(padded, heads, dim, parts + 1) / bytes_per_s
    rounds = ceil(kv_heads * sum(ceil(n / each) for n in pages) / slots)
    young_pages = kv_heads * len(kept) / slots  # programs as short as one page, where others leave room
    moved = float(packed_bytes(np.array(sum(pages) * PAGE * kv_heads * dim), np.array(bits)))
    moved += 4.0 * kv_heads * dim * sum(tokens % PAGE for tokens in kept)
    in_turn_s = (rounds * min(each, max(pages)) + young_pages) * curve.page_s
    work_s = bodies([np.array(in_turn_s), np.array(moved / bytes_per_s)], curve.exposed)
    return IN_STEP_S + curve.launch_s + curve.split_s * parts + merged_s + float(work_s)
