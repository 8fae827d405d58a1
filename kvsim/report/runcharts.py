"""A run's charts for its page: latencies, memory by tier, lanes and batch over time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kvsim.replay import Report
from kvsim.report.axis import Axis, linear, logarithmic, round_label
from kvsim.report.bound import LANES as PLACES
from kvsim.report.charts import Line, line_chart
from kvsim.report.curves import POINTS, Curves
from kvsim.report.labels import LANES, TIERS
from kvsim.report.markup import Html
from kvsim.report.page import entry, figure
from kvsim.report.record import Record
from kvsim.report.words import amount, capital, digits, percent, plural, round_seconds, seconds

Floats = NDArray[np.float64]
_LEAST_S = 1e-5
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours"}


def latencies(report: Report) -> Html:
    """Cumulative distributions of the latencies of completed requests; there must be one."""
    columns = report.simulation.columns
    done = np.isfinite(columns.done_s)
    several = done & (columns.output_tokens > 1)
    decode_s = (columns.done_s - columns.first_token_s)[several] / (columns.output_tokens[several] - 1)
    values = {
        "time to first token": (columns.first_token_s - columns.arrival_s)[done],
        "end to end": (columns.done_s - columns.arrival_s)[done],
        "time per output token": decode_s,
        "in the queue": (columns.scheduled_s - columns.arrival_s)[done],
    }
    lines, legend = [], []
    for look, (name, times) in enumerate(values.items(), 1):
        if len(times):
            shares = np.linspace(0, 1, min(POINTS, max(2, len(times))))
            lines.append(Line(name, np.maximum(np.quantile(times, shares), _LEAST_S), shares, look))
            legend.append(entry(name, look))
    low = min(np.quantile(values[line.name], 0.01) for line in lines)  # what 1 % are below is cut at the axis
    high = max(line.x.max() for line in lines)
    half, late = (seconds(float(t)) for t in np.quantile(values["time to first token"], (0.5, 0.99)))
    says = f"Half of all requests see their first token within {half}, 99 % within {late}"
    about = "; ".join(
        f"{line.name}: p50 {seconds(float(np.median(values[line.name])))}, "
        f"p99 {seconds(float(np.quantile(values[line.name], 0.99)))}"
        for line in lines
    )
    x = logarithmic(max(float(low), _LEAST_S), float(high), round_seconds)
    y = Axis(0.0, 1.0, tuple((i / 4, f"{i * 25} %") for i in range(5)))
    chart = line_chart("latency-chart", "Latencies, cumulative", f"{about}.", lines, x, y)
    return figure("latency-figure", says, chart, legend, "latency, logarithmic", "share of completed requests")


def memory(report: Report, record: Record) -> Iterator[Html]:
    """What is held over time in each tier that is used: one figure a tier."""
    run, figures = report.simulation, report.figures
    resident = run.capacity.resident_bytes
    tiers = {"hbm": ("hbm", resident)}
    if run.layout.policy.placement.home != "hbm":
        tiers[run.layout.policy.placement.home] = ("home", 0)
    for tier, (field, fixed) in tiers.items():
        curves, whole, name = Curves(record, field), figures["capacity_bytes"][tier], TIERS[tier]
        held = (curves.values.max(axis=0) + fixed) / 1e9
        peak, legend = float(held.max()) * 1e9, []
        far = peak < 0.2 * whole
        high = 1.15 * peak / 1e9 if far else 1.05 * whole / 1e9
        lines = [Line("held", curves.times, held, 1, above=np.full_like(held, fixed / 1e9))]
        if fixed:
            lines.append(Line("fixed", curves.times, np.full_like(held, fixed / 1e9), 5, above=np.zeros_like(held)))
            legend = [entry("cache and scratch space", 1, True), entry("weights and what else stays", 5, True)]
        if not far:
            lines.append(Line("all", curves.times, np.full_like(held, whole / 1e9), 6))
            legend.append(entry(f"all there is, {amount(whole)}", 6))
        more = f" (of {len(record.tracks)} replicas the fullest)" if len(record.tracks) > 1 else ""
        says = f"{capital(name)} holds at most {amount(peak)} of {amount(whole)} a chip, {percent(peak / whole)}{more}"
        about = f"{says}; {amount(float(held.mean()) * 1e9)} on average." + (
            f" Of it {amount(fixed)} are there all the time." if fixed else ""
        )
        chart = _over_time(f"memory-{tier}-chart", f"{name} in use over time", about, lines, curves, high)
        yield figure(f"memory-{tier}-figure", says, chart, legend, _across(curves), "GB a chip")


def lanes(report: Report, record: Record) -> Html:
    """How busy the lanes were over time, mean over replicas."""
    busy, moved = report.figures["busy"], report.figures["bytes_moved"]
    lines, legend = [], []
    for look, lane in enumerate(("gpu", "h2d", "d2h", "cpu"), 1):
        if lane in moved and not moved[lane]:
            continue
        curves = Curves(record, f"{lane}_s")
        lines.append(Line(LANES[lane], curves.times, np.minimum(curves.values.mean(axis=0), 1.0), look))
        legend.append(entry(LANES[lane], look))
    most = max((lane for lane in busy if lane != "nvlink"), key=lambda lane: float(busy[lane]))
    says = f"{capital(PLACES[most])} is the busiest lane: it works {percent(busy[most])} of the time"
    about = ", ".join(f"{LANES[lane]} {percent(share)}" for lane, share in busy.items())
    y = Axis(0.0, 1.0, tuple((i / 4, f"{i * 25} %") for i in range(5)))
    chart = _over_time("lanes-chart", "Lanes over time", f"Busy on average: {about}.", lines, curves, 1.0, y)
    return figure("lanes-figure", says, chart, legend, _across(curves), "share of the time that a lane works")


def batch(report: Report, record: Record) -> Html:
    """What the batch is made of, and how many wait, mean over replicas."""
    curves = {name: Curves(record, f"{name}_s") for name in ("running", "reading", "waiting")}
    running, reading, waiting = (curves[name].values.mean(axis=0) for name in curves)
    decoding, times = running - reading, curves["running"].times
    high = 1.05 * float(max(running.max(), waiting.max(), 1.0))
    lines = [
        Line("reading", times, running, 2, above=decoding),
        Line("decoding", times, decoding, 1, above=np.zeros_like(decoding)),
        Line("waiting", times, waiting, 6),
    ]
    legend = [entry("generating", 1, True), entry("prompt being read", 2, True), entry("waiting in the queue", 6)]
    figures = report.figures
    says = f"A step runs {digits(figures['mean_running'])} requests on average, {figures['max_running']:,} at most"
    if len(record.tracks) > 1:
        says += f" (shown: the mean of {len(record.tracks)} replicas)"
    about = (
        f"On average {digits(float(decoding.mean()))} generate, {digits(float(reading.mean()))} have their prompt read "
        f"and {digits(float(waiting.mean()))} wait; {plural(figures['preemptions'], 'preemption')}."
    )
    chart = _over_time("batch-chart", "The batch and the queue over time", about, lines, curves["running"], high)
    return figure("batch-figure", says, chart, legend, _across(curves["running"]), "requests")


def _over_time(
    key: str, title: str, about: str, lines: list[Line], curves: Curves, high: float, y: Axis | None = None
) -> Html:
    x = linear(float(curves.times[-1]) or 1.0, round_label)
    return line_chart(key, title, about, lines, x, y or linear(high, round_label))


def _across(curves: Curves) -> str:
    return f"{_UNITS[curves.unit]} since the first arrival"
