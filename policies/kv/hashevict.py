"""HashEvict: A Pre-Attention KV Cache Eviction Strategy using Locality-Sensitive Hashing. arXiv:2412.16187.

A key's code is the signs of a few random projections; before attention runs, the slot whose code is farthest from the
query's is overwritten by the new token. No code was read.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.watchers import HashCodes


@dataclass(frozen=True)
class Hashevict(Paper):
    """keep: slots as a share of the prompt (paper: 0.3 to 0.7); bits: of a code (8 to 32)."""

    keep: float = 0.5
    bits: int = 16

    title = "HashEvict"
    arxiv = "2412.16187"
    knob = "keep"
    above_full = "a code for each slot"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")
        require(1 <= self.bits <= 64, f"bits must be in [1, 64], but got {self.bits}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        return Traits(retention=Budgeted(Budget(parts=(self.keep,)), HashCodes(self.bits), every=1), reuse="none")
