"""TidalDecode: Fast and Accurate LLM Decoding with Position Persistent Sparse Attention. arXiv:2410.05076.

Two layers attend to everything and choose tokens; the others read those positions only. The whole cache stays in HBM.
Code: DerrickYLJ/TidalDecode, whose kernels are for one sequence and gather single tokens.
"""

from dataclasses import dataclass

from kvsim.traits.persistent import PersistentPositions
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Tidaldecode(Paper):
    """budget: tokens that sparse layers read (repository: 512); first: layer that chooses, those before it are dense
    (2); again: layer that chooses anew (repository: 12 of Llama-2-7B, 13 of Llama-3-8B).
    """

    budget: int = 512
    first: int = 2
    again: int = 13

    title = "TidalDecode"
    arxiv = "2410.05076"
    repo = "DerrickYLJ/TidalDecode"
    knob = "budget"

    def __post_init__(self) -> None:
        require(self.budget >= 1, f"budget must be at least 1, but got {self.budget}")
        require(0 <= self.first < self.again, f"first must be at least 0 and below again, but got {self.first}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Only what is read changes."""
        return Traits(selection=PersistentPositions(self.budget, (self.first, self.again)))
