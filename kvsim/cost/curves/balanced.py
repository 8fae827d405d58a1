"""Seconds of FlashAttention-3's decode over pages: blocks of keys dealt out evenly, SM by SM, whatever their row.

Of its scheduler (`prepare_varlen_num_blocks` in vllm-project/flash-attention): all rows' blocks, times 1.1, over the
SMs are what a CTA gets at most; a row of more is split. One CTA an SM, that serves one piece after another.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies, figures, partial_bytes
from kvsim.specs.hardware import DTYPE_BYTES, Chip

KEYS = 128  # of a block
TILE_HEADS = 128  # query heads of a kv head that one CTA holds
SLACK = 1.1  # a CTA's share over the even one


@dataclass(frozen=True)
class BalancedDecodeCurve:
    """One query token a sequence over its cache; the query heads that share a kv head are one CTA's tile.

    Attributes:
        launch_s: the kernel's ramp and drain; seq_s: its scheduler's, of each sequence.
        cta_s: of one piece, beside its keys, and head_s of each query head of it; an SM runs its pieces in turn.
        drift_s: HBM's wait between pieces, by the root of their turns: SMs start theirs ever less together.
        hides_s: what a piece's keys take at least to hide such waits, by the square of what they take longer.
        block_s: of one block of keys of 128 channels in a CTA, by latency.
        memory_share: of HBM bandwidth, which reading reaches after `ramp_s`: short reads wait less, by their length.
        exposed: share of the shorter of blocks and HBM traffic that the longer does not hide.
        merge_s, split_s: the second kernel that adds up splits, and for each split.
        l2_bytes_per_clock: what one SM takes in where the cache rests in L2, as it does in some benchmarks.
    """

    launch_s: float
    seq_s: float
    cta_s: float
    head_s: float
    drift_s: float
    hides_s: float
    block_s: float
    memory_share: float
    ramp_s: float
    exposed: float
    merge_s: float
    split_s: float
    l2_bytes_per_clock: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, context, heads, kv_heads, head_dim, dtype (of the cache)."""
        latency, blocks, memory = self._work(chip, shape, hot)
        return latency + bodies([blocks, memory], self.exposed)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, blocks in turn, HBM bandwidth."""
        return dict(zip(("latency", "blocks in turn", "HBM bandwidth"), self._work(chip, shape, hot), strict=True))

    def _work(self, chip: Chip, shape: Shape, hot: Floats | float) -> tuple[Floats, Floats, Floats]:
        batch, context, heads, kv_heads, dim = figures(shape, "batch", "context", "heads", "kv_heads", "head_dim")
        sms, bytes_per_s = chip.multiprocessors, self.memory_share * chip.memory.bandwidth
        tiles, blocks = batch * kv_heads * np.ceil(heads / (kv_heads * TILE_HEADS)), np.ceil(context / KEYS)
        parts = np.ceil(blocks / np.ceil(tiles * blocks * SLACK / sms))
        turns = np.maximum(1, tiles * parts / sms)
        start_s = self.cta_s + self.head_s * heads / kv_heads
        serial = (turns - 1) * start_s + turns * np.ceil(blocks / parts) * (self.block_s * dim / 128)
        moved = 2 * batch * context * kv_heads * dim * DTYPE_BYTES[shape["dtype"]]
        cold_s = moved * (1 - hot) / bytes_per_s
        cold_s = cold_s + self.ramp_s * cold_s / (cold_s + self.ramp_s)
        memory = cold_s + moved * hot / (self.l2_bytes_per_clock * chip.clock * sms)
        each_s = bodies([serial, memory], self.exposed) / turns
        waits = np.sqrt(turns - 1) * np.minimum(1, self.hides_s / each_s) ** 2
        latency = self.launch_s + self.seq_s * batch + start_s + waits * self.drift_s
        partial = partial_bytes(batch, heads, dim, parts) / bytes_per_s
        latency = latency + np.where(parts > 1, self.merge_s + self.split_s * parts + partial, 0)
        return latency, serial, memory
