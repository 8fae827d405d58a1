"""KV Prediction for Improved Time to First Token. arXiv:2410.08391, apple/corenet.

A small model reads the prompt, learnt linear maps make the large model's cache from its own, and the large model only
reads the last token. The full cache is stored.
"""

from dataclasses import dataclass

from kvsim.traits.auxiliary import Draft
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class KvPrediction(Paper):
    """size: of the small model, as a share of the large one (OpenELM pairs: about a quarter)."""

    size: float = 0.25

    title = "KV Prediction"
    arxiv = "2410.08391"
    repo = "apple/corenet"

    def __post_init__(self) -> None:
        require(0 < self.size < 1, f"size must be in (0, 1), but got {self.size}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one."""
        return Traits(prefill=Draft(self.size, maps=True), reuse="none")
