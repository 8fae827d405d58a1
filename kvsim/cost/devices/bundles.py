"""Weights read from flash as they are needed: windows and bundles (LLM in a flash, arXiv:2312.11514).

A predictor names the feed-forward neurons that a token needs; those of the last few tokens stay in DRAM, so that only
new ones are read. A neuron's column of the up projection and its row of the down projection lie side by side: one read.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bundles:
    """Feed-forward weights of `matrices` matrices [hidden, ffn] a layer, bundled neuron by neuron.

    Attributes:
        new_share: of a layer's neurons, read for each token. resident_share: kept in DRAM.
    """

    layers: int
    hidden: int
    ffn: int
    element_bytes: float
    new_share: float
    resident_share: float
    matrices: int = 2

    @property
    def chunk_bytes(self) -> float:
        """Of one read: a neuron's weights in all matrices."""
        return self.matrices * self.hidden * self.element_bytes

    @property
    def reads_per_token(self) -> float:
        """New neurons of all layers."""
        return self.layers * self.ffn * self.new_share

    @property
    def bytes_per_token(self) -> float:
        """What they weigh."""
        return self.reads_per_token * self.chunk_bytes

    @property
    def resident_bytes(self) -> float:
        """What stays in DRAM of these matrices."""
        return self.layers * self.ffn * self.chunk_bytes * self.resident_share


def blocking_bytes_per_s(chunk_bytes: float, threads: int, latency_s: float, bandwidth_bytes_per_s: float) -> float:
    """Bytes/s of `threads` threads that each read a chunk, wait for it and read the next.

    Each waits `latency_s` for the first byte and then shares the bandwidth with the others: the pessimistic bound of a
    closed queue (Zahorjan et al., 1982), and the law that the paper draws for its drive. A deep asynchronous queue
    reaches min(threads / (latency + chunk / bandwidth), bandwidth / chunk) instead (kvsim.cost.devices.flash).
    """
    return chunk_bytes / (latency_s / threads + chunk_bytes / bandwidth_bytes_per_s)
