"""InstInfer: In-Storage Attention Offloading for Cost-Effective Long-Context LLM Inference. arXiv:2409.04992.

The cache rests in computational drives; decode attention runs inside them, next to the flash. Also InstAttention (HPCA
2025). No code is public; a drive's engine and channels are in its file under hardware/drives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.elsewhere import InStorage
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import Figure, assumed


@dataclass(frozen=True)
class Instinfer(Paper):
    """channels: share of key channels scanned to choose tokens (0: dense; its sparse attention: 0.125, assumed);
    tokens: share of tokens then read (0.125, assumed); waste: pages read a page wanted (0: the profile's)."""

    channels: float = 0.0
    tokens: float = 1.0
    waste: float = 0.0

    title = "InstInfer"
    arxiv = "2409.04992"
    figures = MappingProxyType({"pages_read_a_page_wanted": assumed(1.0)})  # as if whole pages were chosen

    def __post_init__(self) -> None:
        require(0 <= self.channels <= 1, f"channels must be in [0, 1], but got {self.channels}")
        require(0 < self.tokens <= 1, f"tokens must be in (0, 1], but got {self.tokens}")
        require(self.waste >= 1 or self.waste == 0, f"waste must be 0, or at least 1, but got {self.waste}")

    def profile(self) -> Mapping[str, Figure]:
        """What choosing tokens wastes depends on data; dense attention wastes nothing."""
        return {} if self.waste or self.tokens == 1 else super().profile()

    def traits(self, fidelity: Fidelity) -> Traits:
        """Prefixes stay shared: a page is stored once."""
        found = self.profile()
        waste = self.waste or (found["pages_read_a_page_wanted"].mean if found else 1.0)
        return Traits(placement=InStorage(self.channels, self.tokens, waste))
