"""InstInfer: In-Storage Attention Offloading for Cost-Effective Long-Context LLM Inference. arXiv:2409.04992.

The cache rests in computational drives; decode attention runs inside them, next to the flash. Also InstAttention (HPCA
2025). No code is public; a drive's engine and channels are in its file under hardware/drives.
"""

from dataclasses import dataclass

from kvsim.traits.elsewhere import InStorage
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Instinfer(Paper):
    """channels: share of key channels scanned to choose tokens (0: dense; its sparse attention: 0.125, assumed);
    tokens: share of tokens then read (0.125, assumed); waste: pages read a page wanted (1: whole pages are chosen)."""

    channels: float = 0.0
    tokens: float = 1.0
    waste: float = 1.0

    title = "InstInfer"
    arxiv = "2409.04992"

    def __post_init__(self) -> None:
        require(0 <= self.channels <= 1, f"channels must be in [0, 1], but got {self.channels}")
        require(0 < self.tokens <= 1, f"tokens must be in (0, 1], but got {self.tokens}")
        require(self.waste >= 1, f"waste must be at least 1, but got {self.waste}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Prefixes stay shared: a page is stored once."""
        return Traits(placement=InStorage(self.channels, self.tokens, self.waste))
