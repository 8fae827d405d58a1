"""Seconds of FlashAttention-2's causal prefill on a chip whose SMs hold two of its CTAs: rounds of pairs of tiles.

A tile of queries stays on an SM while all its keys pass. Two tiles that share an SM take little longer than one alone;
a tile alone hides less of its latencies. CTAs are dispatched in order, one to each SM, then a second; a slot that frees
takes the next. Up to two CTAs an SM, the longest tile decides. Beyond, tiles of one length run in whole rounds of
pairs, and tiles of many lengths fill the slots until the last, long one is alone.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import Chip

ROWS = 128  # queries of a tile
ELEMENT_BYTES = 2
PARTNER = 0.85  # of the way from the shortest tile to the longest: the one that shares the longest one's SM
FILLS = 3.0  # tiles whose longest is a third above the mean fill their slots as a list does


@dataclass(frozen=True)
class PairedTileCurve:
    """New tokens of each sequence against its past and each other.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA, beside its keys.
        alone: how much longer a block of keys takes in a tile alone on its SM than half a block of each of two.
        tensor_share: of the tensor cores' peak.
        pair_s: of one query and key on an SM's plain cores: scale, maximum, exponential.
        masked: blocks' times that a masked block takes longer.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of compute and HBM traffic that the longer does not hide.
        kv_passes: times that keys and values cross HBM.
    """

    launch_s: float
    cta_s: float
    alone: float
    tensor_share: float
    pair_s: float
    masked: float
    memory_share: float
    exposed: float
    kv_passes: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, new, past, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, compute, memory = self._work(chip, shape)
        return latency + bodies([compute, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, FLOPs, HBM bandwidth."""
        return dict(zip(("latency", "bf16 FLOPs", "HBM bandwidth"), self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats]:
        batch, new, past, heads = (np.asarray(shape[name], np.float64) for name in ("batch", "new", "past", "heads"))
        sms, dim = chip.multiprocessors, np.asarray(shape["head_dim"], np.float64)
        keys = np.where(dim <= 64, 128.0, 64.0)  # of a block
        tiles = np.ceil(new / ROWS)
        first, last = np.ceil((past + np.minimum(new, ROWS)) / keys), np.ceil((past + new) / keys)
        partner = first + PARTNER * (last - first)
        shortest, partner, longest = (self._blocks(blocks, keys) for blocks in (first, partner, last))
        mean = (shortest + longest) / 2
        score_s = 4 * dim * sms / (self.tensor_share * chip.peak.of("bf16")) + self.pair_s
        pair_s = 2 * ROWS * keys * score_s  # of a block of each of two tiles
        alone_s = self.alone * pair_s / 2
        each = batch * heads * tiles / sms
        two = partner * pair_s + (longest - partner) * alone_s
        rounds = np.ceil(each / 2) * mean * pair_s
        listed = each / 2 * mean * pair_s + (longest - mean / 2) * alone_s
        unlike = np.minimum(1, FILLS * (longest - mean) / mean)
        many = np.maximum(rounds + unlike * (listed - rounds), two)
        compute = np.where(each <= 1, longest * alone_s, np.where(each <= 2, two, many))
        stored = (past + new) * shape["kv_heads"] * self.kv_passes
        moved = batch * (new * heads + stored) * (2 * ELEMENT_BYTES * dim)
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        return self.launch_s + self.cta_s * np.maximum(1, each), compute, memory

    def _blocks(self, blocks: Floats, keys: Floats) -> Floats:
        """Blocks' times of a tile: those that may be masked, one more than its queries span, cost more."""
        found: Floats = blocks + self.masked * np.minimum(blocks, ROWS / keys + 1)
        return found
