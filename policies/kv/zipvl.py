"""ZipVL: Efficient Large Vision-Language Models with Dynamic Token Sparsification and KV Cache Compression.
arXiv:2410.08584.

Each layer's prompt attends among its important tokens only, which probe queries find; these are then stored at more
bits than the others, in ZipCache's way. Widths and the newest tokens' block are ZipCache's, of the same authors; no
code was named.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.classes import ByClass, SeparableCodes, Uncoded
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.sparse_prefill import AmongImportant, ProbedSalience


@dataclass(frozen=True)
class Zipvl(Paper):
    """threshold: attention that important tokens hold together (paper: 0.975); queries: that probe a prompt, newest and
    random ones (64 and 64); high_bits, low_bits: of important tokens and of others (4 and 2); gap: generated tokens
    between codings (100); probes: share of generated tokens whose attention is kept to sort them (0.1).
    """

    threshold: float = 0.975
    queries: int = 128
    high_bits: int = 4
    low_bits: int = 2
    gap: int = 100
    probes: float = 0.1

    title = "ZipVL"
    arxiv = "2410.08584"
    above_full = "scales of channels, of few tokens, and scores"
    figures = MappingProxyType({"important_tokens": assumed(0.4, spread=0.4)})

    def __post_init__(self) -> None:
        require(0 < self.threshold <= 1, f"threshold must be in (0, 1], but got {self.threshold}")
        require(self.high_bits in (2, 4, 8), f"high_bits must be 2, 4 or 8, but got {self.high_bits}")
        require(self.low_bits in (1, 2, 4), f"low_bits must be 1, 2 or 4, but got {self.low_bits}")
        for name in ("queries", "gap"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(0 < self.probes <= 1, f"probes must be in (0, 1], but got {self.probes}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """How many tokens hold that much attention is up to the data."""
        important = self.profile()["important_tokens"]
        codes = (SeparableCodes(self.high_bits), SeparableCodes(self.low_bits), Uncoded())
        return Traits(
            retention=ProbedSalience(important.mean, self.gap, self.probes, self.queries, self.threshold, important),
            quantizer=ByClass(each=codes, block=self.gap, joint=True),
            prefill=AmongImportant(important),
            reuse="none",
        )
