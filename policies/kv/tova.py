"""TOVA: Transformers are Multi-State RNNs. arXiv:2401.06104, schwartz-lab-NLP/TOVA.

A fixed number of states: each step drops the token that the newest query attends to least, mean over heads, so that all
heads of a layer keep the same tokens.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import LastQuery


@dataclass(frozen=True)
class Tova(Paper):
    """capacity: states of a layer (paper: 512 to 2048 of a 4096-token model)."""

    capacity: int = 1024

    title = "TOVA"
    arxiv = "2401.06104"
    repo = "schwartz-lab-NLP/TOVA"
    knob = "capacity"

    def __post_init__(self) -> None:
        require(self.capacity >= 1, f"capacity must be at least 1, but got {self.capacity}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code gathers keys and values of the whole layer at each step."""
        retention = Budgeted(Budget(self.capacity), LastQuery(), every=1, copies=fidelity == "published")
        return Traits(retention=retention, reuse="none")
