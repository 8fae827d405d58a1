"""Seconds of FlashAttention-3's causal prefill: tiles that hold all query heads of a kv head, the longest first.

Of a prompt's `new` tokens a tile takes so many that their query heads fill its rows (PackGQA, which it always does
where prompts vary in length). One CTA an SM: a tile alone runs its blocks at the SM's full clock, all together at a
rate that power sustains. Longest tiles start first, so that an end waits for few of them.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies, figures
from kvsim.specs.hardware import Chip

ROWS, NARROW_ROWS, NARROW = 128.0, 192.0, 64  # rows of a tile: of 128 channels, and up to NARROW
KEYS = 128  # of a block
ELEMENT_BYTES = 2


@dataclass(frozen=True)
class PackedTileCurve:
    """New tokens of each sequence against its past and each other.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA, beside its keys; an SM runs its CTAs in turn.
        block_s: of one block of keys of 128 channels in a CTA nearly alone on the chip.
        tensor_share: of the tensor cores' peak, of all SMs together.
        pair_s: of one row and key on an SM's plain cores: scale, maximum, exponential.
        masked: blocks' times that a masked block takes longer.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of compute and HBM traffic that the longer does not hide.
        tail: share of the longest tile that the others do not hide.
        kv_passes: times that keys and values cross HBM.
    """

    launch_s: float
    cta_s: float
    block_s: float
    tensor_share: float
    pair_s: float
    masked: float
    memory_share: float
    exposed: float
    tail: float
    kv_passes: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, new, past, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, compute, serial, memory = self._work(chip, shape)
        return latency + bodies([bodies([compute, memory], self.exposed), serial], self.tail)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency (the longest tile's, too), FLOPs, HBM bandwidth."""
        latency, compute, serial, memory = self._work(chip, shape)
        return {"latency": latency + serial, "bf16 FLOPs": compute, "HBM bandwidth": memory}

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats, Floats]:
        batch, new, past, heads, kv_heads, dim = figures(shape, "batch", "new", "past", "heads", "kv_heads", "head_dim")
        sms, group = chip.multiprocessors, heads / kv_heads
        rows = np.where(dim <= NARROW, NARROW_ROWS, ROWS)
        queries = np.minimum(new, np.ceil(rows / group))  # of a tile
        longest, masked = np.ceil((past + new) / KEYS), self.masked * np.ceil(queries / KEYS)
        mean = (np.ceil((past + queries) / KEYS) + longest) / 2
        block_s = rows * KEYS * (4 * dim * sms / (self.tensor_share * chip.peak.of("bf16")) + self.pair_s)
        turns = np.maximum(1, batch * kv_heads * np.ceil(new * group / rows) / sms)
        compute = turns * (mean + masked) * block_s
        serial = (longest + masked) * (self.block_s * np.sqrt(dim / 128))
        moved = batch * (new * heads + (past + new) * kv_heads * self.kv_passes) * (2 * ELEMENT_BYTES * dim)
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        return self.launch_s + self.cta_s * turns, compute, serial, memory
