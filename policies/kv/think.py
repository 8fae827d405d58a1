"""ThinK: Thinner Key Cache by Query-Driven Pruning. arXiv:2407.21018, SalesforceAIResearch/ThinK.

Keys of old tokens keep the channels that the last queries and the keys make large; values and tokens all stay. It
stacks on an eviction (`snapkv+think`) or on codes (`think+kivi:residual=32`).
"""

from dataclasses import dataclass

from kvsim.traits.bases import ChannelCut
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Think(Paper):
    """pruned: share of key channels dropped (0.4); window: newest tokens whose keys stay whole (32); observed: last
    queries that choose (32).
    """

    pruned: float = 0.4
    window: int = 32
    observed: int = 32

    title = "ThinK"
    arxiv = "2407.21018"
    repo = "SalesforceAIResearch/ThinK"
    knob = "pruned"
    above_full = "the mask, of few tokens"

    def __post_init__(self) -> None:
        require(0 <= self.pruned < 1, f"pruned must be in [0, 1), but got {self.pruned}")
        require(self.window >= 0, f"window must be at least 0, but got {self.window}")
        require(self.observed >= 1, f"observed must be at least 1, but got {self.observed}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """The authors' code stores narrow keys (NVIDIA/kvpress only writes zeros into full ones)."""
        return Traits(basis=ChannelCut(1 - self.pruned, self.window, self.observed), reuse="none")
