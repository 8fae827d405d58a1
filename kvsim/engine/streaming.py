"""Caches that rest outside HBM and cross links in every step, where several replicas of a host share those links.

While a replica runs, it asks for all that its way from the cache's tier carries, and gets its fair share of it. A step
is priced by the share as it was before the step began; a step under way keeps its price. What goes back is not shared:
a token a step. So two replicas on one drive fetch at half its rate each, and one alone at all of it.
"""

from collections.abc import Callable
from math import inf

from kvsim.cost.devices.flash import LARGE_BYTES
from kvsim.cost.pricer import Pricer
from kvsim.cost.streams import works_beside
from kvsim.engine.clock import Clock
from kvsim.engine.flows import Flow, Network
from kvsim.engine.roads import Road, Roads
from kvsim.specs.hardware import Machine
from kvsim.traits.placement import HBM


class Streaming:
    """One replica's fetching. `on_change` is told when its share changes, at times that `changed_s` notes."""

    def __init__(self, network: Network, road: Road) -> None:
        self.on_change: Callable[[], None] = _nobody
        self.changed_s = -inf
        self._network, self._road = network, road
        self._flow: Flow | None = None
        self._slow = self._before = 1.0

    def begin(self) -> None:
        """The replica runs from now on: its share is what the others leave it."""
        if self._flow is None:
            self._flow = self._network.start(self._road.way, inf, self._changed)
            self._slow = self._before = self._now()
            self.changed_s = -inf

    def end(self) -> None:
        """The replica has nothing to run."""
        if self._flow is not None:
            flow, self._flow = self._flow, None
            self._network.stop(flow)

    def slow(self, now_s: float) -> float:
        """How much longer a fetch takes than alone, in a step that begins now."""
        return self._before if self.changed_s == now_s else self._slow

    def _now(self) -> float:
        flow = self._flow
        return 1.0 if flow is None or not flow.rate else max(1.0, 1 / (self._road.alone_s_per_byte * flow.rate))

    def _changed(self) -> None:
        if self._flow is None:
            return  # it is beginning
        now_s, slow = self._network.clock.now, self._now()
        if slow == self._slow:
            return
        if self.changed_s != now_s:
            self.changed_s, self._before = now_s, self._slow
        self._slow = slow
        self.on_change()


def streaming(machine: Machine, pricer: Pricer, clock: Clock, replicas: int) -> Callable[[int], Streaming | None]:
    """Makes each replica's; None for those whose caches move nothing that they would share."""
    layout = pricer.layout
    tp, home = layout.geo.tp, layout.policy.placement.home
    if home == HBM or not pricer.streams or works_beside(layout) or min(replicas, machine.chips // tp) == 1:
        return lambda replica: None
    network, roads = Network(clock), Roads(machine, tp)
    request = float(layout.policy.placement.grain_bytes or LARGE_BYTES)
    return lambda replica: Streaming(network, roads.down(machine.tier(home), replica, request))


def _nobody() -> None:
    """Nothing waits for a change."""
