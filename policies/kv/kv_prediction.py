"""KV Prediction for Improved Time to First Token. arXiv:2410.08391, apple/corenet.

A smaller auxiliary model reads the prompt; learned linear maps turn its cache into that of the model, which decodes
from it without having read the prompt. Of the paper's auxiliary models these are the layer-pruned ones.
"""

from dataclasses import dataclass

from kvsim.traits.kv_prediction import PredictedCache
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Kvprediction(Paper):
    """layers: of the auxiliary model, as a share of the model's (paper: 0.25, 0.5 or 0.75)."""

    layers: float = 0.5

    title = "KV Prediction"
    arxiv = "2410.08391"
    repo = "apple/corenet"

    def __post_init__(self) -> None:
        require(0 < self.layers < 1, f"layers must be in (0, 1), but got {self.layers}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """A shared prefix would need the auxiliary model's cache too, which is gone."""
        return Traits(prefill=PredictedCache(self.layers), reuse="none")
