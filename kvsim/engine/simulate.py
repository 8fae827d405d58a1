"""A whole run: requests of a trace reach replicas through a router, on one clock."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.engine.arrivals import ClosedLoop, Feed, OpenLoop
from kvsim.engine.capacity import Capacity, capacity
from kvsim.engine.clock import Clock
from kvsim.engine.ledger import Ledger
from kvsim.engine.memory import Memory
from kvsim.engine.prefix_caches import prefix_cache
from kvsim.engine.replica import Replica, Span
from kvsim.engine.results import Columns
from kvsim.engine.router import Router
from kvsim.engine.scheduler import Scheduler
from kvsim.engine.serving import Serving
from kvsim.specs.hardware import Machine
from kvsim.specs.model import Model
from kvsim.traces.loop import alone
from kvsim.traces.trace import Trace
from kvsim.traits.layout import Layout
from kvsim.traits.placement import DRAM
from kvsim.traits.policy import Policy

if TYPE_CHECKING:
    from kvsim.engine.executor import ExecutorFactory

Observer = Callable[[Replica, Span], None]


@dataclass
class Simulation:
    """What was run and what came of it."""

    trace: Trace
    machine: Machine
    layout: Layout
    serving: Serving
    capacity: Capacity
    replicas: list[Replica]
    columns: Columns
    rejections: dict[str, int]
    stopped_s: float | None = None
    closed: bool = False


def simulate(
    trace: Trace,
    machine: Machine,
    model: Model,
    policy: Policy,
    serving: Serving,
    *,
    tp: int = 1,
    replicas: int = 1,
    exact: bool = False,
    until_s: float | None = None,
    observers: tuple[Observer, ...] = (),
    closed: bool = False,
    concurrency: int | None = None,
    progress: Callable[[int], None] | None = None,
    executor: "ExecutorFactory | None" = None,
) -> Simulation:
    """Replay `trace` on `replicas` replicas of `tp` chips each.

    Args:
        exact: step token by token instead of by spans; the results are the same.
        until_s: stop the clock there.
        observers: called after each span.
        closed: send the turns of sessions when what they wait for has ended, not at their stamps; with `concurrency`,
            that many sessions at a time.
        progress: called now and then with the number of requests that arrived.
        executor: makes what runs a replica's steps; its seconds then drive the clock, step by step.
    """
    if serving.weight_dtype:
        model = model.model_copy(update={"dtype": serving.weight_dtype})
    machine = machine.preferring(serving.kernels)
    layout = Layout(policy, model, tp, serving.block_tokens)
    layout.expect(trace.prompt_tokens, trace.output_tokens)
    room = capacity(machine, layout, serving)
    pricer = Pricer(layout, Rates.of(machine, tp), serving.overheads)
    clock = Clock()
    tiers = streams = None
    kind: type[Replica] = Replica
    running: Callable[[Simulation], AbstractContextManager[object]] = nullcontext
    swap_room = 0
    if serving.tiers:
        from kvsim.engine.tiering import Tiering

        tiers = Tiering(machine, layout, room, serving, trace, pricer, clock)
    if pricer.streams:
        from kvsim.engine.streaming import streaming

        streams = streaming(machine, pricer, clock, replicas)
    if serving.preemption == "swap":
        from kvsim.engine.swapping import swap_bytes, swap_ways

        swap_room = swap_bytes(machine, layout, room, serving)
        if serving.swap_tier != DRAM:
            pricer.swap_ways = swap_ways(machine, serving, tp)
    if executor:
        from kvsim.engine.executor import ExecutingReplica, executing

        kind, running = ExecutingReplica, partial(executing, executor)
    columns = Columns.empty(trace.arrival_s.copy(), trace.prompt_tokens, trace.output_tokens)
    caching = prefix_cache(serving, trace) if serving.prefix_caching and policy.reuse == "prefix" else None
    several = []
    for number in range(replicas):
        ledger = Ledger(pricer.rows)
        memory = Memory(layout, room, ledger, pricer, caching, trace.blocks)
        memory.swap_room = swap_room
        if tiers and memory.cache:
            memory.tiers = tiers(number, memory.cache)
        singly = exact or executor is not None or pricer.executed is not None
        scheduler = Scheduler(serving, memory, ledger, pricer.ledger_rows, singly)
        several.append(kind(clock, scheduler, ledger, pricer, columns, number))
        several[-1].observers.extend(observers)
        if streams and (shared := streams(number)):
            several[-1].share(shared)
    rejections = reject(columns, layout, room, serving)
    simulation = Simulation(trace, machine, layout, serving, room, several, columns, rejections, until_s, closed)
    router = Router(several, serving.routing, trace.sessions)
    if closed:
        sessions = trace.sessions or alone(len(trace))
        feed: Feed = ClosedLoop(clock, router, columns, serving.api_s, progress, sessions, concurrency)
        for replica in several:
            replica.on_end = feed.ended
    else:
        feed = OpenLoop(clock, router, columns, serving.api_s, progress)
    with running(simulation):
        feed.begin()
        clock.run_until(until_s)
    for replica in several:
        replica.counters.add_up()
        np.add.at(columns.preemptions, replica.scheduler.preempted, 1)
    return simulation


def reject(columns: Columns, layout: Layout, room: Capacity, serving: Serving) -> dict[str, int]:
    """Mark requests that can never run: {reason: count}. An API knows a prompt and the most it may generate."""
    total = columns.prompt_tokens + columns.output_tokens
    reasons: dict[str, int] = {}
    bad = np.zeros(len(total), np.bool_)
    if serving.max_model_len:
        bad = total > serving.max_model_len
        reasons[f"prompt and output exceed max_model_len={serving.max_model_len}"] = int(bad.sum())
    largest = layout.largest_allocated(columns.prompt_tokens, total)
    homes = (room.pool_bytes["hbm"], room.pool_bytes[layout.policy.placement.home])
    for figures, limit, tier in zip(largest, homes, ("hbm", layout.policy.placement.home), strict=True):
        over = ~bad & (figures > limit * (1 - serving.watermark))
        if over.any():
            reasons[f"its cache alone exceeds the {limit / 1e9:.2f} GB of {tier}"] = int(over.sum())
        bad |= over
    columns.rejected[:] = bad
    return {reason: count for reason, count in reasons.items() if count}
