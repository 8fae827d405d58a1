"""CSR: Achieving 1 Bit Key-Value Cache via Sparse Representation. arXiv:2412.11741.

A row is a sum of a few rows of a dictionary: an index and a weight each. How many atoms, and how wide an index and a
weight, is not in the abstract: the defaults make 1 bit a channel of 128. No code was released.
"""

from dataclasses import dataclass

from kvsim.traits.codebooks import SparseCodes
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Csr(Paper):
    """atoms: rows of the dictionary in a sum; dictionary: rows of it; weight_bits: of a weight."""

    atoms: int = 8
    dictionary: int = 4096
    weight_bits: int = 4

    title = "CSR"
    arxiv = "2412.11741"
    knob = "atoms"

    def __post_init__(self) -> None:
        require(self.atoms >= 1, f"atoms must be at least 1, but got {self.atoms}")
        require(self.dictionary >= 2, f"dictionary must be at least 2, but got {self.dictionary}")
        require(self.weight_bits >= 1, f"weight_bits must be at least 1, but got {self.weight_bits}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        codes = SparseCodes(atoms=self.atoms, dictionary=self.dictionary, weight_bits=self.weight_bits)
        return Traits(quantizer=codes)
