"""FlexGen's search: the percentages of weights and cache in HBM, host DRAM and flash that decode most tokens a second.

FlexGen (arXiv:2303.06865, section 4.3) solves a linear program for them. Here every split in steps of 5 percent is
priced at once, by the lanes' bytes over their rates with the overlap of a step, then those near the best in steps of 1.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim import find
from kvsim.cost.kernels import copy
from kvsim.cost.op import D2H, H2D
from kvsim.cost.rates import Rates
from kvsim.engine.capacity import capacity
from kvsim.errors import UserError
from kvsim.onestep import Step, step
from kvsim.traits.layout import Layout
from kvsim.traits.placement import DRAM, FETCH, HBM, RETURN, overlapped
from kvsim.traits.policy import policy as named_policy
from kvsim.traits.split import BUFFERS, FLASH

Floats = NDArray[np.float64]
COARSE, LARGEST_BATCH = 5, 4096
_PARKED = "flexgen:weights_hbm=0:weights_dram=100"


@dataclass(frozen=True)
class BestSplit:
    """The policy found for a batch, the decode step under it, and how many splits were tried and fit."""

    policy: str
    batch: int
    step: Step
    tried: int
    fit: int

    @property
    def tokens_per_s(self) -> float:
        """Of decode steps like this one."""
        return self.batch / float(self.step.seconds)

    def to_json(self) -> dict[str, Any]:
        """SI figures, beside those of the step."""
        return {
            "policy": self.policy,
            "batch": self.batch,
            "tokens_per_s": self.tokens_per_s,
            "tried": self.tried,
            "fit": self.fit,
        }


def best_split(
    *, hw: str, model: str, context: int, batch: int = 0, tp: int = 0, serving: str = "vllm", weight_dtype: str = ""
) -> BestSplit:
    """The split that decodes fastest when each of `batch` sequences holds `context` tokens.

    Args:
        batch: sequences; 0 for the number that decodes most tokens a second, 1, 2, 4 and so on.
        serving: a preset, whose activations and utilization leave the rest of HBM.

    Raises:
        UserError: nothing fits, or an unknown name.
    """
    from kvsim.replay import serving_preset

    machine = find.machine(hw)
    chips = tp or machine.chips
    spec = find.model(model, weight_dtype)
    preset = serving_preset(serving)
    layout = Layout(named_policy(_PARKED), spec, chips, preset.block_tokens)
    room = capacity(machine, layout, replace(preset, kv_blocks=0))
    weights = spec.weight_bytes / chips
    rooms = {HBM: room.hbm_bytes - room.terms["weights"], DRAM: _share(machine, DRAM, preset.dram_utilization)}
    if any(tier.name == FLASH for tier in machine.tiers):
        rooms[FLASH] = _share(machine, FLASH, 1.0)
    common: dict[str, Any] = {"hw": hw, "model": model, "tp": chips, "weight_dtype": weight_dtype, "context": context}
    found: BestSplit | None = None
    tried = fit = 0
    for many in [batch] if batch else [2**power for power in range(LARGEST_BATCH.bit_length())]:
        bytes_ = _Bytes(layout, weights, many, context)
        full = step(policy="full", batch=many, **common)
        gpu_s = float(full.seconds)
        price = _Price(layout, Rates.of(machine, chips), gpu_s, bytes_, rooms)
        percents, count, able = price.search()
        tried, fit = tried + count, fit + able
        if percents is None:
            break
        text = _policy(percents)
        one = step(policy=text, batch=many, **common)
        if found is None or many / float(one.seconds) > found.tokens_per_s:
            found = BestSplit(text, many, one, 0, 0)
    if found is None:
        raise UserError(
            f"{spec.name} with {batch or 1} sequences of {context:,} tokens fits on {machine.name} under no split of "
            "weights and cache; take fewer, or a machine with more memory or drives"
        )
    return replace(found, tried=tried, fit=fit)


@dataclass(frozen=True)
class _Bytes:
    """Of one chip: what a batch allocates, fetches and adds in a step, were all of it outside HBM."""

    layout: Layout
    weights: float
    batch: int
    context: int

    @property
    def cache(self) -> float:
        """Allocated."""
        rows = self.layout.rows_at(np.array([self.context - 1]), np.array([self.context]))
        return float(rows[self.layout.home_row, 0]) * self.batch

    @property
    def fetched(self) -> float:
        """Read by a decode step."""
        rows = self.layout.rows_at(np.array([self.context - 1]), np.array([self.context]))
        return float(rows[self.layout.link_row, 0]) * self.batch

    @property
    def added(self) -> float:
        """Written by a decode step."""
        return float(self.layout.moved_token_bytes) * self.batch


class _Price:
    """Seconds and room of splits, many at once."""

    def __init__(self, layout: Layout, rates: Rates, gpu_s: float, bytes_: _Bytes, rooms: dict[str, float]) -> None:
        self.layers, self.gpu_s, self.bytes, self.rooms = layout.geo.model.layers, gpu_s, bytes_, rooms
        self._lanes = {}
        lanes = dict.fromkeys((H2D, D2H, *(FETCH[FLASH] + RETURN[FLASH] if FLASH in rooms else ())))
        self._cache, self._fetched, self._added = bytes_.cache, bytes_.fetched, bytes_.added
        for lane in lanes:
            small, large = (
                float(rates.seconds(copy("copy", lane, size / self.layers, count=self.layers)))
                for size in (0.0, 2.0**30)
            )
            self._lanes[lane] = (small, (large - small) / 2**30)

    def search(self) -> tuple[tuple[int, ...] | None, int, int]:
        """(percents of cache and weights in HBM and DRAM that are fastest, splits tried, splits that fit)."""
        coarse = [(a, b) for a, b in product(range(0, 101, COARSE), repeat=2) if a + b <= 100]
        best, tried, fit = self._best(np.array([[*cache, *weights] for cache, weights in product(coarse, repeat=2)]))
        if best is None:
            return None, tried, fit
        near = [[p for p in range(at - COARSE, at + COARSE + 1) if 0 <= p <= 100] for at in best]
        grid = np.array(np.meshgrid(*near)).reshape(4, -1).T
        finer, more, able = self._best(grid[(grid[:, 0] + grid[:, 1] <= 100) & (grid[:, 2] + grid[:, 3] <= 100)])
        return finer, tried + more, fit + able

    def _best(self, percents: NDArray[np.int64]) -> tuple[tuple[int, ...] | None, int, int]:
        fits = self._fit(percents / 100)
        fits &= (percents[:, 0] < 100) | (percents[:, 2] < 100)
        if FLASH not in self.rooms:
            fits &= (percents[:, 0] + percents[:, 1] == 100) & (percents[:, 2] + percents[:, 3] == 100)
        able = percents[fits]
        if not len(able):
            return None, len(percents), 0
        took = self._seconds(able / 100)
        near = able[took <= took.min() * (1 + 1e-9)]  # of equals, the one that keeps most in HBM, then in DRAM
        found = near[np.lexsort((near[:, 3], near[:, 1], near[:, 2], near[:, 0]))[-1]]
        return tuple(found.tolist()), len(percents), len(able)

    def _fit(self, shares: Floats) -> NDArray[np.bool_]:
        cache, weights, aside = self._cache, self.bytes.weights, BUFFERS / self.layers
        in_hbm = weights * (shares[:, 2] + aside * (1 - shares[:, 2]))
        in_hbm = in_hbm + cache * (shares[:, 0] + aside * (1 - shares[:, 0]))
        in_dram = weights * shares[:, 3] + cache * shares[:, 1]
        in_flash = weights * (1 - shares[:, 2] - shares[:, 3]) + cache * (1 - shares[:, 0] - shares[:, 1])
        found: NDArray[np.bool_] = (in_hbm <= self.rooms[HBM]) & (in_dram <= self.rooms[DRAM])
        return found & (in_flash <= self.rooms.get(FLASH, 0.0) + 1)

    def _seconds(self, shares: Floats) -> Floats:
        cache_away, weights_away = 1 - shares[:, 0], 1 - shares[:, 2]
        cache_flash, weights_flash = cache_away - shares[:, 1], weights_away - shares[:, 3]
        moved = {
            H2D: self._fetched * cache_away + self.bytes.weights * weights_away,
            D2H: self._added * cache_away,
            "nvme_read": self._fetched * cache_flash + self.bytes.weights * weights_flash,
            "nvme_write": self._added * cache_flash,
        }
        lanes: list[Any] = [np.full(len(shares), self.gpu_s)]
        for lane, (latency_s, s_per_byte) in self._lanes.items():
            lanes.append(np.where(moved[lane] > 1, latency_s, 0.0) + moved[lane] * s_per_byte)
        return np.asarray(overlapped(lanes, self.layers))


def _share(machine: Any, tier: str, utilization: float) -> float:
    return float(machine.tier(tier).capacity_bytes * utilization / machine.chips)


def _policy(percents: tuple[int, ...]) -> str:
    names = ("cache_hbm", "cache_dram", "weights_hbm", "weights_dram")
    return "flexgen:" + ":".join(f"{name}={percent}" for name, percent in zip(names, percents, strict=True))
