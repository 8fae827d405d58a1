"""Transfers that share links, drives and memories fairly, as fluids: rates change only when one joins or leaves.

Max-min fairness by progressive filling (Bertsekas and Gallager, Data Networks, section 6.5.2): all rates grow together
from zero; what crosses a full link stays as it is, the others grow on. Two transfers on one link get half each, one
alone gets all of it, and a share that somebody cannot use goes to the others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import inf

from kvsim.engine.clock import ARRIVAL, Call, Clock

FULL = 1 - 1e-9  # of a link's time


class Link:
    """What transfers share: one direction of a link, a drive, a memory. Its capacity is a second of time a second.

    At most `depth` transfers are under way at once, others wait in turn: with 1 it is a queue, with infinity it is
    shared by all. `busy_s` and `moved_bytes` are of what has passed.
    """

    __slots__ = ("busy_s", "depth", "flows", "moved_bytes", "name", "queue")

    def __init__(self, name: str, depth: float = inf) -> None:
        self.name, self.depth = name, depth
        self.flows: dict[Flow, float] = {}  # under way, with the seconds that a byte of each takes here
        self.queue: deque[Flow] = deque()
        self.busy_s, self.moved_bytes = 0.0, 0.0

    @property
    def used(self) -> float:
        """Seconds a second that transfers take of it now."""
        return sum([flow.rate * cost for flow, cost in self.flows.items()])


Way = tuple[tuple[Link, float], ...]  # links, and the seconds of each that one byte takes


class Flow:
    """One transfer: `moved` bytes had arrived at `since_s`, more come at `rate` bytes/s; `end` is its scheduled end."""

    __slots__ = ("done", "end", "limit", "moved", "nbytes", "on_end", "rate", "since_s", "way")

    def __init__(self, way: Way, nbytes: float, on_end: Callable[[], None], limit: float) -> None:
        self.way, self.nbytes, self.on_end, self.limit = way, nbytes, on_end, limit
        self.moved = self.rate = self.since_s = 0.0
        self.end: Call | None = None
        self.done = False


class Network:
    """All transfers on one clock. Nothing is polled: each has one event, its end, which moves when its rate does."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def start(
        self, way: Way, nbytes: float, on_end: Callable[[], None], latency_s: float = 0.0, limit: float = inf
    ) -> Flow:
        """Send `nbytes` along `way`, at most `limit` bytes/s; calls `on_end` at the end.

        What takes no time has ended when this returns. An infinite transfer occupies its share until it is stopped, and
        calls `on_end` whenever that has changed.
        """
        flow = Flow(way, nbytes, on_end, limit)
        flow.since_s = self.clock.now
        if latency_s > 0:
            flow.end = self.clock.at(self.clock.now + latency_s, ARRIVAL, lambda call: self._enter(flow, call))
        else:
            self._enter(flow, None)
        return flow

    def stop(self, flow: Flow) -> float:
        """Take a transfer off its links, without calling `on_end`; returns the bytes that have arrived."""
        if not flow.done:
            self._settle(flow)
            self._leave(flow)
        return flow.moved

    def moved(self, flow: Flow) -> float:
        """Bytes of a transfer that have arrived by now."""
        self._settle(flow)
        return flow.moved

    def seconds_left(self, flow: Flow) -> float:
        """Until it ends if nobody joins or leaves; what still waits for its turn is taken as alone behind it."""
        if flow.done:
            return 0.0
        self._settle(flow)
        left = flow.nbytes - flow.moved
        return left / flow.rate if flow.rate else self.seconds(flow.way, left)

    def seconds(self, way: Way, nbytes: float) -> float:
        """How long a transfer would take that joined now, if nobody joined or left after it; queues are waited out."""
        new = Flow(way, nbytes, _nothing, inf)
        several = self._together([link for link, _ in way])
        ahead = sum((other.nbytes for link, _ in way if link.queue for other in link.queue), 0.0)
        rate = shares([*several, new])[-1]
        return (nbytes + ahead) / rate if rate else 0.0

    # -- joining and leaving -----------------------------------------------------------------------------------------

    def _enter(self, flow: Flow, call: Call | None) -> None:
        """Join, or queue at the first link that is full."""
        if flow.done or (call is not None and call is not flow.end):
            return
        for link, _ in flow.way:
            if len(link.flows) >= link.depth:
                link.queue.append(flow)
                return
        flow.since_s = self.clock.now
        if not any(cost for _, cost in flow.way) and flow.limit == inf:
            self._finish(flow)
            return
        alone = shares([flow])[0]
        spare = all(link.used + alone * cost <= 1 for link, cost in flow.way)
        for link, cost in flow.way:
            link.flows[flow] = cost
        if spare:  # nobody else has to give way
            self._set(flow, alone)
        else:
            self._share(flow.way)

    def _end(self, flow: Flow, call: Call) -> None:
        if call is flow.end:
            self._finish(flow)

    def _finish(self, flow: Flow) -> None:
        flow.moved = flow.nbytes
        self._leave(flow)
        flow.on_end()

    def _leave(self, flow: Flow) -> None:
        flow.done, flow.end = True, None
        held_back = False  # whether others may grow
        for link, cost in flow.way:
            if link.flows.pop(flow, None) is not None and link.flows:
                held_back = held_back or link.used + flow.rate * cost >= FULL
            link.moved_bytes += flow.moved
            link.busy_s += flow.moved * cost
        flow.rate = 0.0
        if held_back:
            self._share(flow.way)
        for link, _ in flow.way:
            while link.queue and len(link.flows) < link.depth:
                waiting = link.queue.popleft()
                if not waiting.done:
                    self._enter(waiting, None)

    # -- rates -------------------------------------------------------------------------------------------------------

    def _share(self, way: Way) -> None:
        """New rates for all that share a link with `way`, directly or through others."""
        flows = self._together([link for link, _ in way])
        for flow, rate in zip(flows, shares(flows), strict=True):
            if rate != flow.rate:
                self._set(flow, rate)

    def _set(self, flow: Flow, rate: float) -> None:
        self._settle(flow)
        flow.rate = rate
        if flow.nbytes < inf:
            at_s = self.clock.now + (flow.nbytes - flow.moved) / rate
            flow.end = self.clock.at(at_s, ARRIVAL, partial(self._end, flow))
        else:
            flow.on_end()

    def _settle(self, flow: Flow) -> None:
        """Note what has arrived by now."""
        if flow.rate:
            flow.moved = min(flow.nbytes, flow.moved + (self.clock.now - flow.since_s) * flow.rate)
        flow.since_s = self.clock.now

    def _together(self, links: list[Link]) -> list[Flow]:
        """Transfers on these links, on the other links that those cross, and so on, in order of joining."""
        found: dict[Flow, None] = {}
        seen = set(links)
        for link in links:  # grows
            for flow in link.flows:
                if flow not in found:
                    found[flow] = None
                    for other, _ in flow.way:
                        if other not in seen:
                            seen.add(other)
                            links.append(other)
        return list(found)


def shares(flows: Sequence[Flow]) -> list[float]:
    """Max-min fair rates in bytes/s."""
    if len(flows) == 1:
        slowest = max((cost for _, cost in flows[0].way), default=0.0)
        return [min(flows[0].limit, 1 / slowest if slowest else inf)]
    left: dict[Link, float] = {link: 1.0 for flow in flows for link, _ in flow.way}
    rates: dict[Flow, float] = {}
    still, level = list(flows), 0.0
    while still:
        load = _load(still)
        full = min(load, key=lambda link: left[link] / load[link], default=None)
        grow, limit = left[full] / load[full] if full else inf, min(flow.limit for flow in still)
        if limit - level < grow:
            grow, full, level = limit - level, None, limit
        else:
            level += grow
        for link, cost in load.items():
            left[link] -= grow * cost
        for flow in still:
            if flow.limit <= level or any(cost and (link is full or left[link] <= 0) for link, cost in flow.way):
                rates[flow] = level
        still = [flow for flow in still if flow not in rates]
    return [rates[flow] for flow in flows]


def _load(flows: Iterable[Flow]) -> dict[Link, float]:
    """Seconds of each link that one byte of every flow takes."""
    load: dict[Link, float] = {}
    for flow in flows:
        for link, cost in flow.way:
            if cost:
                load[link] = load.get(link, 0.0) + cost
    return load


def _nothing() -> None:
    """Ends unheard."""
