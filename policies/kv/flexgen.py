"""FlexGen: High-Throughput Generative Inference of Large Language Models with a Single GPU. arXiv:2303.06865.

Percentages say how much of the cache and of the weights rests in HBM and in host DRAM; the rest is in flash. Its
search for the best ones is `kvsim step --policy flexgen --best-split`.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.split import Shares, Split


@dataclass(frozen=True)
class Flexgen(Paper):
    """cache_hbm, cache_dram, weights_hbm, weights_dram: percents; what they leave of 100 is in flash. The released
    code's --percent has them as weights, cache and activations; activations stay in HBM here."""

    cache_hbm: int = 0
    cache_dram: int = 100
    weights_hbm: int = 100
    weights_dram: int = 0

    title = "FlexGen"
    arxiv = "2303.06865"
    repo = "FMInference/FlexGen"

    def __post_init__(self) -> None:
        for what in ("cache", "weights"):
            hbm, dram = getattr(self, f"{what}_hbm"), getattr(self, f"{what}_dram")
            for key, percent in ((f"{what}_hbm", hbm), (f"{what}_dram", dram)):
                require(0 <= percent <= 100, f"{key} must be 0 to 100 percent, but got {percent}")
            require(hbm + dram <= 100, f"{what}_hbm and {what}_dram must be at most 100 together, but got {hbm + dram}")
        parked = self.cache_hbm < 100 or self.weights_hbm < 100
        require(parked, "all of it in HBM moves nothing: that is policy full")

    def traits(self, fidelity: Fidelity) -> Traits:
        """The same at both fidelities: the released code appends the new token's rows, and overlaps layer by layer."""
        cache = Shares(self.cache_hbm, self.cache_dram)
        return Traits(placement=Split(cache, Shares(self.weights_hbm, self.weights_dram)))
