"""A2ATS: Retrieval-Based KV Cache Reduction via Windowed Rotary Position Embedding and Vector Quantization.

arXiv:2502.12665, junhuihe-hjh/A2ATS. Keys without position are coded by books that were tuned to queries; the GPU
scores all tokens by their codes, and only the best tokens' rows come from host memory. Sizes of codes are not in the
README.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.clusters import Coded
from kvsim.traits.placement import HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class A2ats(Paper):
    """share: of the tokens that a step reads (README: 0.03); code_bytes: of one key; entries: of a codebook for each
    byte.
    """

    share: float = 0.03
    code_bytes: int = 16
    entries: int = 256

    title = "A2ATS"
    arxiv = "2502.12665"
    repo = "junhuihe-hjh/A2ATS"
    above_full = "codes of all keys"
    figures = MappingProxyType({"missed_tokens": assumed(0.5, spread=0.3)})

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share must be in (0, 1], but got {self.share}")
        require(self.code_bytes >= 1, f"code_bytes must be at least 1, but got {self.code_bytes}")
        require(2 <= self.entries <= 256, f"entries must be in [2, 256], but got {self.entries}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: rows are fetched; attention on the host is another placement."""
        selection = Coded(self.share, self.code_bytes, self.entries, self.profile()["missed_tokens"].mean)
        return Traits(selection=selection, placement=HostResident(False), reuse="none")
