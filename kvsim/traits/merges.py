"""Merges into the nearest kept token, as four papers define them; what they cost is `MergeNearest`'s."""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry
from kvsim.traits.fates import MergeNearest


@dataclass(frozen=True)
class MergeLikely(MergeNearest):
    """D2O: a dropped token joins the kept key of highest cosine, if that reaches a threshold that follows them.

    Weights are exponentials of the cosine (the kept token's own is 1). The threshold begins at the mean of the first
    eviction's best cosines and moves by `pace` towards each later one's (arXiv:2406.13035, equations 6 to 9).
    """

    pace: float = 0.5

    def sequence_bytes(self, geo: Geometry) -> int:
        """An fp32 threshold of each kv head and layer."""
        return 4 * geo.model.layers * geo.kv_heads


@dataclass(frozen=True)
class MergeRedundant(MergeNearest):
    """EMS: of the tokens that do not stay, the best candidates are averaged into a kept key that is like them.

    All others belong to the class that is thrown away (arXiv:2412.08521).

    Attributes:
        candidates: tokens that stay or may be merged, as a multiple of the budget. alike: least cosine of a merge.
    """

    candidates: float = 2.0
    alike: float = 0.6


@dataclass(frozen=True)
class MergeCounted(MergeNearest):
    """ZeroMerge: every dropped token joins the kept key of highest cosine, in proportion to what both stand for.

    Attention adds the log of a slot's weight to its score (arXiv:2503.10714).
    """

    weight_bytes: int = 4


@dataclass(frozen=True)
class MergeIntoAnchors(MergeNearest):
    """Elastic Cache: tokens are averaged into the anchor nearest in position, at the prompt's end only.

    Attributes:
        distance: while decoding, the slot that is so far from the end of the kept ones goes at each step.
    """

    at_decode: bool = False
    distance: int = 25
