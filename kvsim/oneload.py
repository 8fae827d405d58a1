"""A context's cache brought from a tier to HBM, beside computing it again: `kvsim op load` and `kvsim.load`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.devices.transit import Transit
from kvsim.cost.op import GPU, Num
from kvsim.cost.rates import Rates
from kvsim.errors import UserError
from kvsim.onestep import first, step
from kvsim.traits.layout import Layout
from kvsim.traits.placement import FETCH, overlapped
from kvsim.traits.policy import Policy
from kvsim.traits.policy import policy as named_policy

_CHUNK_TOKENS = 256


@dataclass(frozen=True)
class Load:
    """Seconds until a context's cache is in HBM, and of each lane before overlap; arrays where contexts were.

    Attributes:
        wire_bytes: that travel for one chip. recompute_s: of reading the prompt instead. bound: the slowest lane (of
            the first context). roofline_s: of the slowest lane at its datasheet's rate.
    """

    seconds: Num
    roofline_s: Num
    lanes: dict[str, Num]
    wire_bytes: Num
    recompute_s: Num
    bound: str

    @property
    def wins(self) -> Any:
        """Whether loading takes less than computing again."""
        return self.seconds < self.recompute_s


def load(
    *,
    hw: str,
    model: str,
    context: Num,
    tier: str = "dram",
    policy: str = "full",
    tp: int = 0,
    fidelity: str = "ideal",
    weight_dtype: str = "",
    level: int = 0,
) -> Load:
    """Bring the cache of `context` tokens from `tier` to HBM, chunk by chunk, every lane at the same time.

    Args:
        context: a whole number, or an integer array. policy: how the cache is stored, and (cachegen, vcllm) how it
            travels, at `level` (0: the best quality).

    Raises:
        UserError: an unknown name, a tier or a lane that the machine has not.
    """
    machine = find.machine(hw)
    machine.tier(tier)
    if tier not in FETCH:
        raise UserError(f"load: tier must be one of {', '.join(FETCH)}, but got {tier!r}")
    tp, chosen, spec = tp or machine.chips, named_policy(policy, fidelity), find.model(model, weight_dtype)
    layout, rates = Layout(chosen, spec, tp, 16), Rates.of(machine, tp)
    tokens = np.atleast_1d(np.asarray(context))
    if tokens.dtype.kind not in "iu" or tokens.size == 0 or np.any(tokens < 1):
        raise UserError(f"load: context must be whole numbers from 1, but got {context!r}")
    stored = layout.stored(tokens, tokens).astype(np.float64)
    transit = transit_of(chosen)
    head_tokens = (layout.groups.layers * layout.groups.heads) @ layout.kept(tokens, tokens).sum(axis=1)
    elements = head_tokens * float(layout.geo.key_dim + layout.geo.value_dim)
    if transit and not 0 <= level < len(transit.bits):
        raise UserError(f"load: level must be 0 to {len(transit.bits) - 1}, but got {level}")
    wire = elements * (transit.bits[level] / 8) if transit else stored
    units = -(-tokens // (transit.chunk_tokens if transit else _CHUNK_TOKENS))
    lanes: dict[str, Num] = {}
    ideal: dict[str, Num] = {}
    for name in FETCH[tier]:
        lane = rates.lane(name)
        lanes[name] = lane.latency_s + wire / lane.rate({})
        ideal[name] = wire / lane.peak_bytes_per_s
    if transit:
        lanes[transit.lane] = ideal[transit.lane] = elements / decoded_per_s(transit, rates)
    seconds = overlapped(list(lanes.values()), units)
    again = step(hw=hw, model=model, policy="full", phase="prefill", context=tokens, tp=tp, weight_dtype=weight_dtype)
    slowest = max(lanes, key=lambda name: float(np.ravel(lanes[name])[0]))
    what = "decoding" if slowest == GPU else rates.lane(slowest).what
    roofline_s = np.max(np.stack(list(ideal.values())), axis=0)
    if np.ndim(context):
        return Load(seconds, roofline_s, lanes, wire, again.seconds, what)
    each: dict[str, Num] = {name: first(value) for name, value in lanes.items()}
    return Load(first(seconds), first(roofline_s), each, first(wire), first(again.seconds), what)


def transit_of(policy: Policy) -> Transit | None:
    """How a policy's cache travels, if one of its papers says so."""
    found = [paper.transit(policy.fidelity) for paper in policy.papers if hasattr(paper, "transit")]
    if len(found) > 1:
        raise UserError(f"policy {policy.name!r}: two parts say how the cache travels; keep one")
    return found[0] if found else None


def decoded_per_s(transit: Transit, rates: Rates) -> float:
    """Elements a second that are decoded on arrival."""
    return transit.elements_per_s if transit.lane == GPU else rates.lane(transit.lane).bytes_per_s
