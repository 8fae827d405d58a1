"""Weights and cache split by percentages between HBM, host DRAM and flash, as FlexGen does it (arXiv:2303.06865).

Each layer's tensors are split alike, so that every layer fetches the same. Two layers of what is fetched are set aside
in HBM: one computes, one fills. FlexGen's third pair of percentages, of activations, is left out: they stay in HBM.
"""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import copy
from kvsim.cost.op import Num, Op
from kvsim.traits.placement import DRAM, FETCH, HBM, RETURN, Ints, Placement, Resting

FLASH = "flash"
BUFFERS = 2  # layers


@dataclass(frozen=True)
class Shares:
    """Whole percents in HBM and in host DRAM; the rest is in flash."""

    hbm: int
    dram: int

    @property
    def flash(self) -> int:
        """What is left."""
        return 100 - self.hbm - self.dram

    @property
    def away(self) -> int:
        """Percents that are not in HBM."""
        return 100 - self.hbm


@dataclass(frozen=True)
class Split(Placement):
    """`cache` and `weights` by tier. A step fetches all that is away; a token's rows go back where they belong."""

    cache: Shares
    weights: Shares

    @property
    def home(self) -> str:  # type: ignore[override]
        """The farthest tier that holds some of the cache."""
        if not self.cache.away:
            return HBM
        return FLASH if self.cache.flash else DRAM

    def away(self) -> dict[str, float]:
        """Shares of what is not in HBM, by tier."""
        if not self.cache.away:
            return {HBM: 1.0}
        return {DRAM: self.cache.dram / self.cache.away, FLASH: self.cache.flash / self.cache.away}

    def weights_in(self, geo: Geometry) -> dict[str, float]:
        """Shares of the weights by tier; the layers that are set aside count for HBM as well."""
        aside = BUFFERS / geo.model.layers * self.weights.away / 100
        return {HBM: self.weights.hbm / 100 + aside, DRAM: self.weights.dram / 100, FLASH: self.weights.flash / 100}

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """The share of the cache in HBM with two layers of the rest, and that rest."""
        allocated = held.total
        if not self.cache.away:
            return {HBM: allocated}
        away = allocated * self.cache.away // 100
        return {HBM: allocated - away - (-away * BUFFERS // geo.model.layers), self.home: away}

    def units(self, geo: Geometry) -> int:
        """Layers."""
        return geo.model.layers

    def moved(self, whole: int, geo: Geometry) -> int:
        """What is not in HBM."""
        return whole * self.cache.away // 100

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """The same."""
        return stored * self.cache.away // 100

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """The cache's ways to HBM and back, tier by tier, and the weights' to HBM."""
        layers, weights = geo.model.layers, geo.model.weight_bytes / geo.tp / 100
        ops = []
        for tier, share in self.away().items():
            if share and self.cache.away:
                ops += _ops(f"fetch_cache_{tier}", FETCH[tier], fetched * share, layers)
                ops += _ops(f"return_cache_{tier}", RETURN[tier], returned * share, layers)
        for tier, percent in ((DRAM, self.weights.dram), (FLASH, self.weights.flash)):
            if percent:
                ops += _ops(f"fetch_weights_{tier}", FETCH[tier], weights * percent, layers)
        return ops


def _ops(name: str, lanes: tuple[str, ...], moved: Num, layers: int) -> list[Op]:
    return [copy(name, lane, moved / layers, count=layers, shape={}) for lane in lanes]
