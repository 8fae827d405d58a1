"""Full cache: every token of every layer at 16 bits in HBM. What all others are held against."""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits


@dataclass(frozen=True)
class Full(Paper):
    """The null policy."""

    title = "Full cache"

    def traits(self, fidelity: Fidelity) -> Traits:
        """Sets nothing."""
        return Traits()
