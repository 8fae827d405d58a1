"""`kvsim plan`: goodput is confirmed by runs under and over it, and so are the machines that a rate takes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvsim
from kvsim.decide.fleet import whole_search
from kvsim.decide.goodput import STEPS, edge
from kvsim.decide.plan import Plan
from kvsim.errors import UserError
from kvsim.report.plantable import render
from kvsim.traces.scale import scale
from kvsim.traces.trace import Trace

SLO = "ttft_p99=1s,tpot_p90=60ms"


def poisson(requests: int, rate_per_s: float, seed: int = 0) -> Trace:
    draw = np.random.default_rng(seed)
    arrival_s = np.cumsum(draw.exponential(1 / rate_per_s, requests))
    prompt, output = draw.integers(50, 3000, requests), draw.integers(1, 120, requests)
    return Trace("poisson", arrival_s - arrival_s[0], prompt, output)


TRACE = poisson(150, 5.0)


@pytest.fixture(scope="module")
def found() -> Plan:
    return kvsim.plan(TRACE, slo=SLO, hw="l40s,rtx4090", policy="full,kivi", workers=2)


def _p(row: object, trace: Trace, **options: object) -> tuple[float, float]:
    figures = kvsim.run(trace, hw=row.hw, policy=row.policy, **options).figures  # type: ignore[attr-defined,arg-type]
    return figures["ttft_s"]["p99"], figures["tpot_s"]["p90"]


def test_goodput_is_confirmed_by_runs_under_and_over_it(found: Plan) -> None:
    for row in found.rows:
        assert row.goodput and row.goodput.under and row.goodput.over and row.goodput_per_s
        assert row.goodput.over.rate_per_s / row.goodput.under.rate_per_s == pytest.approx(2 ** (1 / STEPS))
        for point, kept in ((row.goodput.under, True), (row.goodput.over, False)):
            ttft_s, tpot_s = _p(row, scale(TRACE, rate=point.rate_per_s / found.own_rate_per_s))
            assert (ttft_s, tpot_s) == pytest.approx(tuple(point.figures.values()), rel=1e-6)
            assert (ttft_s <= 1.0 and tpot_s <= 0.06) == kept


def test_the_machines_keep_the_limits_and_one_less_does_not() -> None:
    found = kvsim.plan(TRACE, slo=SLO, hw="l40s,h100", policy="full", rate=12.0)
    trace = scale(TRACE, rate=12.0 / found.own_rate_per_s)
    for row in found.rows:
        assert row.copies and row.figures
        assert _p(row, trace, replicas=row.copies) == pytest.approx(tuple(row.figures.values()), rel=1e-6)
        figures = kvsim.run(trace, hw=row.hw, policy="full", replicas=row.copies).figures
        assert row.usd_per_mtok == pytest.approx(figures["usd_per_mtok"], rel=1e-9)
        assert row.joules_per_token == pytest.approx(figures["joules_per_token"], rel=1e-9)
        if row.copies > 1:
            ttft_s, tpot_s = _p(row, trace, replicas=row.copies - 1)
            assert ttft_s > 1.0 or tpot_s > 0.06
    best = next(row for row in found.rows if row.best)
    assert best.usd_per_mtok == min(row.usd_per_mtok or 0 for row in found.rows)
    assert best.headroom is not None and f"{best.copies} x {best.system} is the cheapest" in found.says


def test_workers_do_not_matter(found: Plan) -> None:
    alone = kvsim.plan(TRACE, slo=SLO, hw="l40s,rtx4090", policy="full,kivi", workers=1)
    assert replace(alone, wall_s=0.0) == replace(found, wall_s=0.0)


def test_the_table_says_what_was_found(found: Plan) -> None:
    text = render(found)
    assert text.startswith("poisson, 150 requests: llama-3-8b, serving vllm; ttft p99 <= 1.00 s, tpot p90 <= 60.0 ms")
    assert found.says.split(";")[0][:30] in text
    assert text.count("l40s") >= 4


def test_limits_that_nobody_keeps() -> None:
    found = kvsim.plan(TRACE, slo="tpot_p50=1ms", hw="h100", copies_most=3)
    row = found.rows[0]
    assert row.goodput and row.goodput_per_s == 0.0 and row.goodput.under is None and row.copies is None
    assert found.says == "No system keeps the limits at 5.06 requests/s with up to 3 machines." or row.copies is None
    assert "no rate that was tried keeps the limits" in render(found)


def test_a_trace_too_short_to_tell() -> None:
    found = kvsim.plan(TRACE.head(30), slo="e2e_p99=1h", hw="h100")
    row = found.rows[0]
    assert row.goodput and row.goodput.under and row.goodput.over is None
    text = render(found)
    assert ">= " in text and "as far as the trace can tell" in text


def test_rejected_requests_took_forever() -> None:
    settings = {"max_model_len": 1000}
    found = kvsim.plan(TRACE, slo="ttft_p99=1h", hw="h100", settings=settings, copies_most=2)
    assert found.rows[0].goodput_per_s == 0.0 and found.rows[0].copies is None
    assert "never" in render(found)


def test_what_cannot_run_says_why() -> None:
    found = kvsim.plan(TRACE.head(40), slo="ttft_p99=60s", hw="l40s,h100x4", model="llama-3-70b")
    assert found.rows[0].problem and found.rows[1].gpus == 4
    assert "l40s with full cannot run" in render(found)
    with pytest.raises(UserError, match="leaves no room for a cache on l40s"):
        kvsim.plan(TRACE.head(40), slo="ttft_p99=60s", hw="l40s", model="llama-3-70b")


def test_sessions_are_counted_in_a_closed_loop() -> None:
    lines = []
    for chat in range(40):
        for turn in range(3):
            prompt = 200 + 150 * turn
            parents = [3 * chat + turn - 1] if turn else []
            row = {"session": chat, "parents": parents, "gap_s": 2.0 * bool(turn)}
            lines.append((chat * 0.5 + turn * 5, prompt, row))
    draw = Trace(
        "chats",
        np.array([line[0] for line in lines]),
        np.array([line[1] for line in lines]),
        np.full(len(lines), 40),
        sessions=_sessions(lines),
    )
    draw = draw.take(np.argsort(draw.arrival_s, kind="stable"))
    found = kvsim.plan(draw, slo="ttft_p90=300ms", hw="l40s")
    assert found.unit == "sessions" and found.own_rate_per_s == pytest.approx(40 / 19.5)
    assert "sessions/s" in render(found)
    with pytest.raises(UserError, match="concurrency: a plan varies the rate"):
        kvsim.plan(draw, slo="ttft_p90=300ms", concurrency=3)


def _sessions(lines: list[tuple[float, int, dict[str, object]]]) -> object:
    from kvsim.traces.trace import Sessions, starts

    counts = np.array([len(row["parents"]) for _, _, row in lines])  # type: ignore[arg-type]
    parents = np.array([parent for _, _, row in lines for parent in row["parents"]], np.int64)  # type: ignore[attr-defined]
    gaps = np.array([row["gap_s"] for _, _, row in lines], float)
    return Sessions(np.array([row["session"] for _, _, row in lines]), parents, starts(counts), gaps)


def test_a_trace_without_a_rate() -> None:
    at_once = replace(TRACE, arrival_s=np.zeros(len(TRACE)))
    with pytest.raises(UserError, match="all requests begin at once"):
        kvsim.plan(at_once, slo=SLO)


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(1, 60))
def test_edge(last: int, before: int, after: int) -> None:
    asked: list[int] = []

    def hold(at: int) -> bool:
        asked.append(at)
        return at <= last

    assert edge(hold, last - before, last + after) == last
    assert len(asked) <= 7


@given(st.integers(1, 200), st.sampled_from([lambda n: n, lambda n: n - 1]))
def test_a_limit_on_copies_leaves_the_search_alone(most: int, _: Callable[[int], int]) -> None:
    limit = whole_search(most)
    assert limit >= most and (limit == most if most <= 8 else limit & (limit - 1) == 0)
