"""Seconds of causal prefill attention by tiles of queries that stay on an SM while all their keys pass.

Beside the terms of `prefill.py`: CTAs come in whole numbers to an SM, two of which share it, keys on the diagonal are
masked and cost more, and scores take the plain cores time that does not depend on the channels.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import Chip

ROWS = 128  # queries of a tile
ELEMENT_BYTES = 2


@dataclass(frozen=True)
class QueryTileCurve:
    """New tokens of each sequence against its past and each other.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA, beside its keys; an SM runs its CTAs in turn.
        block_s: of one block of 64 keys in a CTA alone on its SM, by latency.
        tensor_share: of the tensor cores' peak.
        pair_s: of one query and key on an SM's plain cores: scale, maximum, exponential.
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
        latency, compute, serial, memory, longest = self._work(chip, shape)
        work = bodies([bodies([compute, memory], self.exposed), serial], self.tail)
        return latency + np.maximum(work, longest)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency (the longest tile's, too), FLOPs, HBM bandwidth."""
        latency, compute, serial, memory, longest = self._work(chip, shape)
        return {"latency": latency + serial, "bf16 FLOPs": np.maximum(compute, longest), "HBM bandwidth": memory}

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Latency, compute, the longest tile alone on its SM, HBM traffic, the longest tile beside another."""
        batch, new, past, heads = (np.asarray(shape[name], np.float64) for name in ("batch", "new", "past", "heads"))
        sms, dim = chip.multiprocessors, np.asarray(shape["head_dim"], np.float64)
        keys = np.where(dim <= 64, 128.0, 64.0)  # of a block
        tiles = np.ceil(new / ROWS)
        longest = np.ceil((past + new) / keys)
        blocks = (np.ceil((past + np.minimum(new, ROWS)) / keys) + longest) / 2  # of a mean tile
        diagonal = np.ceil(np.minimum(new, ROWS) / keys)
        block_s = ROWS * keys * (4 * dim * sms / (self.tensor_share * chip.peak.of("bf16")) + self.pair_s)
        ctas = batch * heads * tiles
        compute = np.ceil(ctas / sms) * (blocks + self.masked * diagonal) * block_s
        serial = longest * self.block_s * (keys / 64)
        stored = (past + new) * shape["kv_heads"] * self.kv_passes
        moved = batch * (new * heads + stored) * (2 * ELEMENT_BYTES * dim)
        memory = moved / (self.memory_share * chip.memory.bandwidth)
        filled = np.minimum(1, new / ROWS)
        latency = self.launch_s + self.cta_s * np.maximum(1, ctas / sms * filled)
        beside = np.maximum(self.block_s * (keys / 64), np.minimum(2, ctas / sms) * block_s)
        return latency, compute, serial, memory, (longest + self.masked * diagonal) * beside
