"""A Simple and Effective L2 Norm-Based Strategy for KV Cache Compression. arXiv:2406.11430, alessiodevoto/l2compress.

Keys of small norm draw the attention: each head keeps those. Nothing but the keys is read, so any kernel will do.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import KeyScores


@dataclass(frozen=True)
class L2NormKv(Paper):
    """keep: share of the prompt that a head keeps (paper: 0.5); above: prompts up to so many tokens stay whole
    (repository: 1000 to 2048); skip: first layers that keep everything (2).
    """

    keep: float = 0.5
    above: int = 1000
    skip: int = 2

    title = "L2 norm"
    arxiv = "2406.11430"
    repo = "alessiodevoto/l2compress"
    knob = "keep"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")
        require(self.above >= 0, f"above must be at least 0, but got {self.above}")
        require(self.skip >= 0, f"skip must be at least 0, but got {self.skip}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: keys are sorted and gathered once."""
        budget = Budget(parts=(self.keep,), whole=tuple(range(self.skip)), above=self.above)
        return Traits(retention=Budgeted(budget, KeyScores()), reuse="none")
