"""Efficient Inference of Vision Instruction-Following Models with Elastic Cache. arXiv:2407.18121.

After the prompt, tokens that draw little attention are averaged into their nearest anchor; while decoding, one token at
a fixed distance goes at each step. All heads of a layer choose alike. Code: liuzuyan/ElasticCache.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.global_local import LayerSums
from kvsim.traits.merges import MergeIntoAnchors
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class ElasticCache(Paper):
    """ratio: share of the prompt that is merged away (released example: 0.2); sinks: first tokens that stay (4);
    distance: of the token that goes at each step, before the prompt's kept end (25).
    """

    ratio: float = 0.2
    sinks: int = 4
    distance: int = 25

    title = "Elastic Cache"
    arxiv = "2407.18121"
    repo = "liuzuyan/ElasticCache"
    knob = "ratio"

    def __post_init__(self) -> None:
        require(0 <= self.ratio < 1, f"ratio must be in [0, 1), but got {self.ratio}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.distance >= 0, f"distance must be at least 0, but got {self.distance}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code writes the score matrix out and concatenates the cache at each step."""
        written = fidelity == "published"
        scorer, fate = LayerSums(written), MergeIntoAnchors(distance=self.distance)
        budget = Budget(parts=(1 - self.ratio,))
        retention = Budgeted(budget, scorer, fate, sinks=self.sinks, recent=1, every=1, copies=written)
        return Traits(retention=retention, reuse="none")
