"""ALISA: Accelerating Large Language Model Inference via Sparsity-Aware KV Caching. arXiv:2403.17312.

A step reads the newest tokens and those with the largest recent attention, at 8 bits. As `alisa+offload` the cache
rests in host memory and only what was not read last time is fetched: the second of the paper's three phases. The first
is this policy alone; deleting tokens to compute them again, the third, is not modelled. No code was released.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.local_sums import LocalSums
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.quantizers import TokenQuantizer


@dataclass(frozen=True)
class Alisa(Paper):
    """share: of the tokens that a step reads (0.2); window: steps over which attention is added up; bits: of a code
    (8); group: channels that share a scale.
    """

    share: float = 0.2
    window: int = 4
    bits: int = 8
    group: int = 64

    title = "ALISA"
    arxiv = "2403.17312"
    knob = "share"
    figures = MappingProxyType({"missed_tokens": assumed(0.3, spread=0.3)})

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, f"share must be in (0, 1], but got {self.share}")
        require(self.window >= 1, f"window must be at least 1, but got {self.window}")
        require(self.bits in (4, 8), f"bits must be 4 or 8, but got {self.bits}")
        require(self.group >= 1, f"group must be at least 1, but got {self.group}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        selection = LocalSums(self.share, self.window, self.profile()["missed_tokens"].mean)
        return Traits(selection=selection, quantizer=TokenQuantizer(self.bits, self.group), reuse="none")
