"""LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens Are Important. arXiv:2504.04704.

Partitions of the cache are thinned by how their keys and values spread, relative to the partition that follows, at
prefill and while decoding. Code: AI-Lab-China-Merchants-Bank/LagKV.
"""

from dataclasses import dataclass

from kvsim.traits.lagged import Lagged
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Lagkv(Paper):
    """sinks: first tokens that stay (repository: 16); lag: tokens of a partition (README: 64 or 128); ratio: share of a
    partition that stays (README: 0.2 to 0.5).
    """

    sinks: int = 16
    lag: int = 128
    ratio: float = 0.25

    title = "LagKV"
    arxiv = "2504.04704"
    repo = "AI-Lab-China-Merchants-Bank/LagKV"
    knob = "ratio"

    def __post_init__(self) -> None:
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.lag >= 2, f"lag must be at least 2, but got {self.lag}")
        require(0 < self.ratio <= 1, f"ratio must be in (0, 1], but got {self.ratio}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code concatenates the whole cache each time that a partition is thinned."""
        retention = Lagged(self.sinks, self.lag, self.ratio, fidelity == "published")
        return Traits(retention=retention, reuse="none")
