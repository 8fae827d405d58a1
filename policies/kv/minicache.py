"""MiniCache: KV Cache Compression in Depth Dimension for Large Language Models. arXiv:2405.14366.

From the middle on, two neighbouring layers keep one direction for each token and a magnitude each; tokens whose
directions differ most stay in both. It stacks on a quantizer: `minicache+kivi:bits=4:group=128` is the paper's 5.02x.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.merged_layers import MergedPairs
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Minicache(Paper):
    """first: share of the layers that stay as they are, from the first on (paper: 0.5)."""

    first: float = 0.5

    title = "MiniCache"
    arxiv = "2405.14366"
    knob = "first"
    above_full = "magnitudes and positions, while few tokens are merged"
    figures = MappingProxyType({"retained_tokens": assumed(0.05, spread=0.5)})  # the paper's threshold

    def __post_init__(self) -> None:
        require(0 <= self.first < 1, f"first must be in [0, 1), but got {self.first}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Code that restores full rows before each step's attention is the only one published."""
        retained = self.profile()["retained_tokens"].mean
        return Traits(sharing=MergedPairs(self.first, retained, fidelity == "published"), reuse="none")
