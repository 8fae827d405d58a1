"""TidalDecode: Fast and Accurate LLM Decoding with Position Persistent Sparse Attention. arXiv:2410.05076.

A few layers read the whole cache and choose positions; all others read the positions last chosen. Code:
DerrickYLJ/TidalDecode, whose kernels are for one sequence.
"""

from dataclasses import dataclass

from kvsim.traits.clusters import Persistent
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Tidaldecode(Paper):
    """budget: tokens read (128 to 512); dense_layers: first layers that read all, the next of which chooses (2);
    second: the layer that chooses again (12 for Llama-2-7B, 9 or 13 for others).
    """

    budget: int = 512
    dense_layers: int = 2
    second: int = 12

    title = "TidalDecode"
    arxiv = "2410.05076"
    repo = "DerrickYLJ/TidalDecode"

    def __post_init__(self) -> None:
        require(self.budget >= 1, f"budget must be at least 1, but got {self.budget}")
        require(self.dense_layers >= 0, f"dense_layers must be at least 0, but got {self.dense_layers}")
        require(
            self.second > self.dense_layers, f"second must be after layer {self.dense_layers}, but got {self.second}"
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """Only what is read changes; both fidelities are one."""
        chooses = (self.dense_layers, self.second)
        return Traits(selection=Persistent(self.budget, self.dense_layers, chooses))
