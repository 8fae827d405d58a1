"""A run's figures, reduced to the object that `kvsim run --json` prints."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.dense import layer_ops
from kvsim.cost.op import PEER
from kvsim.cost.rates import Rates
from kvsim.engine.simulate import Simulation
from kvsim.report.energy import energy_j
from kvsim.report.tierfigures import lane_totals, tier_figures, tier_peaks, wear
from kvsim.traits.placement import DRAM, HBM

Floats = NDArray[np.float64]
PERCENTILES = (50, 90, 95, 99)


def summarize(run: Simulation, warmup_s: float = 0.0) -> dict[str, Any]:
    """SI figures of a run; requests that arrived before `warmup_s` are left out of the statistics.

    Bytes are of one chip, the one with most; busy shares are means over replicas; `bytes_moved` and costs of all chips.
    """
    columns, layout, machine = run.columns, run.layout, run.machine
    tp, replicas = layout.geo.tp, len(run.replicas)
    arrived = columns.arrival_s <= (np.inf if run.stopped_s is None else run.stopped_s)
    counted = arrived & (columns.arrival_s >= warmup_s)
    done = counted & np.isfinite(columns.done_s)
    start_s = float(columns.arrival_s[counted].min()) if counted.any() else 0.0
    end_s = float(columns.done_s[done].max()) if done.any() else start_s
    duration_s = end_s - start_s
    output = int(columns.output_tokens[done].sum())
    chips, hours = tp * replicas, duration_s / 3600
    busy = _busy(run)
    tiers = tier_figures(run, duration_s)
    below = {name: figures["hit_tokens"] for name, figures in tiers.items()}
    keys = ("prompt_tokens", "hit_tokens", "sequences", "steps", "returned_bytes")
    total = {key: sum(getattr(replica.counters, key) for replica in run.replicas) for key in keys}
    return {
        "loop": "closed" if run.closed else "open",
        "requests": {
            "injected": int(arrived.sum()),
            "completed": int(np.isfinite(columns.done_s).sum()),
            "rejected": int((columns.rejected & arrived).sum()),
            "running": sum(len(r.scheduler.running) + len(r.scheduler.prefilling) for r in run.replicas),
            "queued": sum(len(replica.scheduler.waiting) for replica in run.replicas) + _between(run, arrived),
        },
        "rejections": run.rejections,
        "duration_s": duration_s,
        "ttft_s": _spread(columns.first_token_s[done] - columns.arrival_s[done]),
        "tpot_s": _spread(_tpot_s(run, done)),
        "e2e_s": _spread(columns.done_s[done] - columns.arrival_s[done]),
        "queue_s": _spread(columns.scheduled_s[done] - columns.arrival_s[done]),
        "sessions": _sessions(run),
        "prompt_tokens": int(columns.prompt_tokens[done].sum()),
        "output_tokens": output,
        "output_tokens_per_s": _ratio(output, duration_s),
        "peak_bytes": _peak_bytes(run),
        "capacity_bytes": _capacity_bytes(run, tiers),
        "pool_bytes": run.capacity.pool_bytes,
        "capacity_terms": run.capacity.terms,
        "kv_bytes_per_token": _kv_bytes_per_token(run, done),
        "kv_capacity_tokens": kv_capacity_tokens(run),
        "max_running": max(replica.counters.max_running for replica in run.replicas),
        "mean_running": _ratio(total["sequences"], total["steps"]),
        "preemptions": int(columns.preemptions.sum()),
        "prefix_hit_ratio": _ratio(total["hit_tokens"], total["prompt_tokens"]) or 0.0,
        "hit_tokens": {HBM: max(0, total["hit_tokens"] - sum(below.values())), **below},
        "tiers": tiers,
        "wear": wear(run, layout.policy.placement.home, tp * total["returned_bytes"], duration_s),
        "bytes_moved": _bytes_moved(run),
        "busy": busy,
        "usd_per_mtok": _ratio(machine.price_usd_per_h * chips * hours * 1e6, output),
        "joules_per_token": _ratio(energy_j(run, busy["gpu"], duration_s), output),
        "steps": total["steps"],
        "events": sum(replica.counters.events for replica in run.replicas),
        "chips": chips,
        "replicas": replicas,
        "tp": tp,
    }


def kv_capacity_tokens(run: Simulation) -> int:
    """Tokens of context that one replica holds at once, in requests of the trace's mean size.

    For a policy whose bytes follow the context this does not depend on the size: pages of the pool x tokens a page.
    """
    layout = run.layout
    step = np.lcm(layout.block_tokens, layout.policy.period)
    prompt = max(1, round(float(run.columns.prompt_tokens.mean())))
    context = prompt + max(1, round(float(run.columns.output_tokens.mean())))
    context = int(-(-context // step) * step)
    row = layout.rows_at(np.array([prompt]), np.array([context]))[:, 0]
    pools = run.capacity.pool_bytes
    home = pools[layout.policy.placement.home] * context // max(1, int(row[layout.home_row]))
    in_hbm = int(row[layout.hbm_row])  # nothing, where attention runs beside the chip
    return int(min(home, pools[HBM] * context // in_hbm) if in_hbm else home)


def _spread(values: Floats) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", *(f"p{p}" for p in PERCENTILES)))
    ordered = np.sort(values)
    return {"mean": float(values.mean()), **{f"p{p}": percentile(ordered, p) for p in PERCENTILES}}


def percentile(ordered: Floats, percent: float) -> float:
    """Linear between neighbours of a sorted array, to the bit as np.percentile, which takes 20 ms to import."""
    at = (len(ordered) - 1) * (percent / 100)
    low, above = float(ordered[int(at)]), float(ordered[min(int(at) + 1, len(ordered) - 1)])
    part = at - int(at)
    return above - (above - low) * (1 - part) if part >= 0.5 else low + (above - low) * part


def _sessions(run: Simulation) -> dict[str, Any] | None:
    """How many sessions there are and are done, and the seconds from their first arrival to their last token."""
    sessions, columns = run.trace.sessions, run.columns
    if sessions is None:
        return None
    which = np.unique(sessions.id, return_inverse=True)[1]
    many = int(which.max()) + 1
    begin_s, end_s = np.full(many, np.inf), np.full(many, -np.inf)
    np.minimum.at(begin_s, which, np.nan_to_num(columns.arrival_s, nan=np.inf))
    np.maximum.at(end_s, which, np.where(columns.rejected, -np.inf, np.nan_to_num(columns.done_s, nan=np.inf)))
    done = np.isfinite(end_s)  # all its requests that were not rejected are done, and there is one
    return {"count": many, "completed": int(done.sum()), "e2e_s": _spread(end_s[done] - begin_s[done])}


def _tpot_s(run: Simulation, done: NDArray[np.bool_]) -> Floats:
    columns = run.columns
    several = done & (columns.output_tokens > 1)
    seconds = columns.done_s[several] - columns.first_token_s[several]
    each: Floats = seconds / (columns.output_tokens[several] - 1)
    return each


def _between(run: Simulation, arrived: NDArray[np.bool_]) -> int:
    """Requests that arrived but whose API time was not over when the run stopped."""
    return int((arrived & (run.columns.replica < 0) & ~run.columns.rejected).sum())


def _peak_bytes(run: Simulation) -> dict[str, int]:
    peaks = {
        HBM: run.capacity.resident_bytes + max(replica.scheduler.memory.peak[0] for replica in run.replicas),
        DRAM: 0,
    }
    home = run.layout.policy.placement.home
    if home != HBM:
        most = max(replica.scheduler.memory.peak[1] for replica in run.replicas)
        peaks |= {tier: int(most * share) for tier, share in run.layout.policy.placement.away().items() if share}
    for tier, share in run.layout.policy.placement.weights_in(run.layout.geo).items():
        if tier != HBM and share:
            peaks[tier] = peaks.get(tier, 0) + int(run.layout.geo.model.weight_bytes / run.layout.geo.tp * share)
    if run.serving.preemption == "swap":
        swapped = max(replica.scheduler.peak_swapped_bytes for replica in run.replicas)
        peaks[run.serving.swap_tier] = peaks.get(run.serving.swap_tier, 0) + swapped
    for tier, peak in tier_peaks(run).items():
        peaks[tier] = peaks.get(tier, 0) + peak
    return peaks


def _capacity_bytes(run: Simulation, tiers: Iterable[str]) -> dict[str, int]:
    """Of one chip: its HBM, its share of the host's DRAM that caches may fill, and of other tiers in use."""
    found = {HBM: int(run.machine.chip.memory.capacity), DRAM: run.capacity.pool_bytes[DRAM]}
    swap = [run.serving.swap_tier] if run.serving.preemption == "swap" else []
    for name in (*_peak_bytes(run), *swap, *tiers):
        found.setdefault(name, int(run.machine.tier(name).capacity_bytes) // run.machine.chips)
    return found


def _kv_bytes_per_token(run: Simulation, done: NDArray[np.bool_]) -> float | None:
    """Mean over completed requests of stored bytes over context, all chips of a replica, at the last token."""
    if not done.any():
        return None
    prompt = run.columns.prompt_tokens[done]
    context = prompt + np.maximum(run.columns.output_tokens[done] - 1, 0)
    stored = run.layout.stored(prompt, context) * run.layout.geo.tp
    return float((stored / context).mean())


def _bytes_moved(run: Simulation) -> dict[str, int]:
    tp, counters = run.layout.geo.tp, [replica.counters for replica in run.replicas]
    moved = {
        "h2d": tp * sum(c.swapped_in_bytes for c in counters),
        "d2h": tp * sum(c.swapped_out_bytes for c in counters),
    }
    if tp > 1:
        peer = sum(op.count * float(np.max(op.bytes)) for op in layer_ops(run.layout.geo, 1) if op.lane == PEER)
        moved["nvlink"] = round(tp * peer * sum(c.tokens for c in counters))
    if run.serving.swap_tier != DRAM:
        lanes, swapped = run.machine.tier(run.serving.swap_tier).lanes, [c.swapped_in_bytes for c in counters]
        for lane, each in zip(lanes, (swapped, [c.swapped_out_bytes for c in counters]), strict=True):
            moved[lane] = moved.get(lane, 0) + tp * sum(each)
    for replica in run.replicas:
        done = replica.counters
        for stream in replica.pricer.streams:
            carried = stream.carried(done.steps, done.fetched_bytes, done.returned_bytes)
            moved[stream.lane] = moved.get(stream.lane, 0) + tp * carried
    for lane, (carried, _) in lane_totals(run, run.replicas).items():
        moved[lane] = moved.get(lane, 0) + carried
    return moved


def _busy(run: Simulation) -> dict[str, float]:
    """Share of the run that each lane worked, mean over replicas; gpu includes waiting for its peers."""
    span_s = max((replica.counters.end_s for replica in run.replicas), default=0.0)
    lanes = {"gpu": 0.0, "cpu": 0.0, "h2d": 0.0, "d2h": 0.0}
    for replica in run.replicas:
        counters, serving = replica.counters, run.serving
        lanes["gpu"] += counters.gpu_s
        lanes["cpu"] += serving.cpu_step_s * counters.steps + serving.cpu_seq_s * counters.sequences
        pricer = replica.pricer
        streams = pricer.stream_busy_s(counters.fetched_bytes, counters.returned_bytes, counters.steps)
        if counters.beside and pricer.beside:
            lane = pricer.beside.lane
            streams[lane] = streams.get(lane, 0.0) + pricer.beside.busy_s(counters.beside)
        for lane, busy_s in streams.items():
            lanes[lane] = lanes.get(lane, 0.0) + busy_s
        lanes["h2d"] += pricer.swap_s(counters.swapped_in_bytes, 0)
        lanes["d2h"] += pricer.swap_s(0, counters.swapped_out_bytes)
    if run.layout.geo.tp > 1:
        rates = Rates.of(run.machine, run.layout.geo.tp)
        steps = max(1, sum(replica.counters.steps for replica in run.replicas))
        tokens = sum(replica.counters.tokens for replica in run.replicas)
        peers = [op for op in layer_ops(run.layout.geo, tokens / steps) if op.lane == PEER]
        lanes["nvlink"] = steps * sum(float(np.max(rates.seconds(op))) for op in peers)  # of a mean step
    for lane, (_, busy_s) in lane_totals(run, run.replicas).items():
        lanes[lane] = lanes.get(lane, 0.0) + busy_s
    whole_s = span_s * len(run.replicas)
    return {lane: min(1.0, seconds / whole_s) if whole_s else 0.0 for lane, seconds in lanes.items()}


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None
