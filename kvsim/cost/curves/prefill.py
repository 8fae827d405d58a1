"""Seconds of causal prefill attention on one chip: tiles of queries over the SMs, each over the keys it sees."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import Chip

ROWS = KEYS = 64  # queries of a tile, keys of a block
ELEMENT_BYTES = 2


@dataclass(frozen=True)
class PrefillCurve:
    """New tokens of each sequence against its past and each other.

    Attributes:
        launch_s: the kernel's ramp and drain.
        cta_s: of one CTA, beside its keys; an SM runs its CTAs in turn.
        block_s: of one block of keys in a CTA, by latency: the last tile of a long prompt alone on its SM.
        tensor_share: of the tensor cores' peak.
        memory_share: of HBM bandwidth.
        exposed: share of the shorter of compute and HBM traffic that the longer does not hide.
        tail: share of the longest tile that the others do not hide: tiles that see most keys start last.
        kv_passes: times that keys and values cross HBM.
        l2_bytes_per_clock: what one SM takes in where all operands rest in L2, as they do in some benchmarks.
    """

    launch_s: float
    cta_s: float
    block_s: float
    tensor_share: float
    memory_share: float
    exposed: float
    tail: float
    kv_passes: float
    l2_bytes_per_clock: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, new, past, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, compute, serial, memory = self._work(chip, shape, hot)
        return latency + bodies([bodies([compute, memory], self.exposed), serial], self.tail)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency (the longest tile's, too), FLOPs, HBM bandwidth."""
        latency, compute, serial, memory = self._work(chip, shape, hot)
        return {"latency": latency + serial, "bf16 FLOPs": compute, "HBM bandwidth": memory}

    def _work(self, chip: Chip, shape: Shape, hot: Floats | float) -> tuple[Floats, Floats, Floats, Floats]:
        batch, new, past, heads = (np.asarray(shape[name], np.float64) for name in ("batch", "new", "past", "heads"))
        sms, dim = chip.multiprocessors, shape["head_dim"]
        tiles = np.ceil(new / ROWS)
        blocks = tiles * (past / KEYS) + tiles * (tiles + 1) / 2 * (ROWS / KEYS)
        block_s = 4 * ROWS * KEYS * dim * sms / (self.tensor_share * chip.peak.of("bf16"))
        compute = batch * heads * blocks / sms * block_s
        serial = np.ceil((past + new) / KEYS) * self.block_s
        stored = (past + new) * shape["kv_heads"] * self.kv_passes
        moved = batch * (new * heads + stored) * (2 * ELEMENT_BYTES * dim)
        memory = moved * (1 - hot) / (self.memory_share * chip.memory.bandwidth)
        memory = memory + moved * hot / (self.l2_bytes_per_clock * chip.clock * sms)
        latency = self.launch_s + self.cta_s * np.maximum(1, batch * heads * tiles / sms)
        return latency, compute, serial, memory
