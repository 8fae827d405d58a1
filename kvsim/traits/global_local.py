"""Sums of attention that are scored otherwise than H2O's: the whole history with the newest queries, or per layer."""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class GlobalLocal(AccumulatedScores):
    """EMS: mean attention of all queries that see a token, and of the newest `window`; two fp32 sums a slot."""

    window: int = 32

    def slot_bytes(self, geo: Geometry) -> int:
        """Both sums."""
        return 8


@dataclass(frozen=True)
class LayerSums(AccumulatedScores):
    """Elastic Cache: sums over all heads of a layer choose once, at the prompt's end; nothing of them is kept."""

    at_decode: bool = False
    by_head = False

    def slot_bytes(self, geo: Geometry) -> int:
        """None after the choice."""
        return 0
