"""HeadInfer: Memory-Efficient LLM Inference by Head-wise Offloading. arXiv:2502.12574, wdlctc/headinfer.

The cache rests in host DRAM; a layer's attention runs one kv head at a time while the next head's rows are fetched.
"""

from dataclasses import dataclass

from kvsim.traits.placement import FETCH, HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Headinfer(Paper):
    """buffers: kv heads of HBM set aside (ping-pong: 2); tier: where the cache rests; resident: layers
    that stay in HBM; heads: kv heads of a fetch (paper: 1)."""

    buffers: int = 2
    tier: str = "dram"
    resident: int = 0
    heads: int = 1

    title = "HeadInfer"
    arxiv = "2502.12574"
    repo = "wdlctc/headinfer"

    def __post_init__(self) -> None:
        require(self.buffers >= 2, f"buffers must be at least 2 (one computes, one fills), but got {self.buffers}")
        require(self.tier in FETCH, f"tier must be one of {', '.join(FETCH)}, but got {self.tier!r}")
        require(self.resident >= 0, f"resident must be at least 0, but got {self.resident}")
        require(self.heads >= 1, f"heads must be at least 1, but got {self.heads}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code writes each head's whole rows back (append-only lines are commented out in cache.py)."""
        back = fidelity == "published"
        return Traits(placement=HostResident(True, self.buffers, back, self.tier, self.resident, heads=self.heads))
