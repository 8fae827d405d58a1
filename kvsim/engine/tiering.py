"""The tiers below HBM that serving settings name, made of what the machine has."""

from collections.abc import Callable

from kvsim.cost.pricer import Pricer
from kvsim.engine.capacity import Capacity
from kvsim.engine.clock import Clock
from kvsim.engine.copies import Copies
from kvsim.engine.flows import Network
from kvsim.engine.levels import Level, Levels
from kvsim.engine.prefix import PrefixCache
from kvsim.engine.radix import RadixCache
from kvsim.engine.roads import Road, Roads
from kvsim.engine.serving import Serving
from kvsim.engine.tiers import Tiers
from kvsim.engine.tierspec import TierSpec, tier_specs
from kvsim.errors import UserError
from kvsim.specs.hardware import Machine
from kvsim.traces.trace import Trace
from kvsim.traits.eviction import Order
from kvsim.traits.layout import Layout
from kvsim.traits.placement import DRAM, HBM


class Tiering:
    """Makes the tiers of one replica after the other, on links and copies that they share."""

    def __init__(
        self,
        machine: Machine,
        layout: Layout,
        room: Capacity,
        serving: Serving,
        trace: Trace,
        pricer: Pricer,
        clock: Clock,
    ) -> None:
        """Raises UserError: the machine lacks a tier, or it has no room; the cache does not rest in HBM."""
        self._machine, self._layout, self._room, self._serving, self._pricer = machine, layout, room, serving, pricer
        self._trace = trace
        self._specs = tier_specs(serving.tiers)
        depths = {machine.tier(spec.name).read[0].resource: spec.depth for spec in self._specs}
        self._network, self._roads = Network(clock), Roads(machine, layout.geo.tp, depths)
        self._shared: dict[tuple[int, str], Copies] = {}
        home = layout.policy.placement.home
        if home != HBM:
            raise UserError(f"tiers={serving.tiers}: they are below hbm, but this policy's cache rests in {home}")
        for spec in self._specs:
            if spec.order.needs_sessions and trace.sessions is None:
                raise UserError(
                    f"{trace.name}: tiers: {spec.name}: eviction={spec.eviction} needs sessions, which this trace does "
                    "not have"
                )

    def __call__(self, replica: int, cache: PrefixCache | RadixCache) -> Tiers:
        """The tiers of a replica, behind its prefix cache in HBM."""
        found: list[Level] = []
        for number, spec in enumerate(self._specs):
            found.append(Level(spec, self._copies(number, replica), *self._ways(number, replica)))
        levels = Levels(found, self._network, self._layout.block_bytes)
        tiers = Tiers(levels, self._serving, self._room.hbm_bytes, self._recompute_s)
        if tiers.writes.watches:
            cache.watch(tiers.writes.note)
        return tiers

    def _ways(self, number: int, replica: int) -> tuple[Road, Road]:
        """(into, out of) a level."""
        spec, roads = self._specs[number], self._roads
        tier, request = self._machine.tier(spec.name), self._request_bytes(spec)
        if not number:
            return roads.up(tier, replica, request), roads.down(tier, replica, request)
        above, first = (self._machine.tier(self._specs[at].name) for at in (number - 1, 0))
        return roads.between(above, tier, replica, request), roads.between(tier, first, replica, request)

    def _request_bytes(self, spec: TierSpec) -> float:
        """What is contiguous in a tier."""
        layers = 2 * self._layout.geo.model.layers  # keys and values apart
        parts = {"page_first": 1, "layer_first": layers, "token_first": layers * self._layout.block_tokens}[spec.layout]
        return self._layout.block_bytes / parts

    def _copies(self, number: int, replica: int) -> Copies:
        spec, tier = self._specs[number], self._machine.tier(self._specs[number].name)
        chips = self._machine.chips
        whole = self._room.pool_bytes[DRAM] * chips if spec.name == DRAM else tier.capacity_bytes
        a_chip = int(min(whole, spec.most_bytes)) // chips
        host, many = self._roads.host(replica), self._roads.per_host
        key = (-1, spec.name) if tier.kind == "remote" else (host, spec.name)
        shared = spec.shared or tier.kind == "remote"
        if shared and key in self._shared:
            return self._shared[key]
        blocks = a_chip * (many if shared else 1) // self._layout.block_bytes
        if not blocks:
            raise UserError(
                f"tiers: {spec.name}: its share of a chip, {a_chip:,} bytes, has no room for a block of "
                f"{self._layout.block_bytes:,} bytes"
            )
        order = spec.order.order(blocks)
        behind = self._specs[number + 1] if number + 1 < len(self._specs) else None
        copies = Copies(blocks, order, bool(behind and behind.writes == "back"), self._turn(order))
        if shared:
            self._shared[key] = copies
        return copies

    def _turn(self, order: Order) -> Callable[[int], None] | None:
        """Tells an order of eviction, if it listens, which request is next."""
        if type(order).turn is Order.turn:
            return None
        sessions = None if self._trace.sessions is None else self._trace.sessions.id.tolist()
        return lambda request: order.turn(request if sessions is None else sessions[request], request)

    def _recompute_s(self, tokens: int, past: int, rest: int) -> float:
        """GPU seconds by which a prompt's chunk of `rest` tokens is longer with `tokens` more before them."""
        price, chunk = self._pricer.price, self._pricer.chunk
        return float(price(0, (), chunk(tokens + rest, past), 1)[1]) - float(
            price(0, (), chunk(rest, past + tokens), 1)[1]
        )
