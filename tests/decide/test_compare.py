"""`kvsim compare`: rows are runs, the front is what nobody beats, what cannot run says why."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvsim
from kvsim.decide.advice import advice
from kvsim.decide.compare import Comparison, Row
from kvsim.decide.pareto import front
from kvsim.report.comparetable import render


@pytest.fixture(scope="module")
def found() -> Comparison:
    return kvsim.compare("quickstart", hw="h100,l40s", policy="full,kivi:bits=4", limit=60, workers=2)


def test_rows_are_runs(found: Comparison) -> None:
    names = [(row.hw, row.policy) for row in found.rows]
    assert names == [("h100", "full"), ("h100", "kivi:bits=4"), ("l40s", "full"), ("l40s", "kivi:bits=4")]
    for row in found.rows:
        figures = kvsim.run("quickstart", hw=row.hw, policy=row.policy, limit=60).figures
        assert row.usd_per_mtok == figures["usd_per_mtok"]
        assert (row.ttft_p99_s, row.tpot_p50_s) == (figures["ttft_s"]["p99"], figures["tpot_s"]["p50"])
        assert (row.latency_s, row.peak_hbm_bytes) == (figures["e2e_s"]["p99"], figures["peak_bytes"]["hbm"])
        assert sorted((*row.notes, *found.assumptions)) == sorted(figures["assumptions"])


def test_workers_do_not_matter(found: Comparison) -> None:
    alone = kvsim.compare("quickstart", hw=["h100", "l40s"], policy=["full", "kivi:bits=4"], limit=60, workers=1)
    assert replace(alone, wall_s=0.0) == replace(found, wall_s=0.0)


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12))
def test_the_front_is_what_nobody_beats(points: list[tuple[int, int, int]]) -> None:
    def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return one != other and all(a <= b for a, b in zip(one, other, strict=True))

    assert front(points) == [not any(beats(other, point) for other in points) for point in points]


def test_marked_rows_are_the_front(found: Comparison) -> None:
    points = [(row.usd_per_mtok, row.latency_s, row.memory_bytes) for row in found.rows]
    assert [row.pareto for row in found.rows] == front(points)  # type: ignore[arg-type]
    assert any(row.pareto for row in found.rows)


def test_what_cannot_run_says_why() -> None:
    found = kvsim.compare("quickstart", hw="l40s,h100x4", model="llama-3-70b", policy="full", limit=5)
    alone, four = found.rows
    assert alone.problem and "leaves no room for a cache on l40s" in alone.problem
    assert alone.usd_per_mtok is None and not alone.pareto
    assert four.pareto and four.completed == 5 and four.chips == 4
    text = render(found)
    assert "l40s with full cannot run: " in text and "h100x4 with full is the cheapest" in text
    none = kvsim.compare("quickstart", hw="l40s,h100", model="llama-3-70b", policy="full", limit=5)
    assert none.says == "None of the 2 combinations can run." and "cannot run" in render(none)


def test_rows_that_turn_requests_away_are_not_on_the_front() -> None:
    settings = {"max_model_len": 300}
    found = kvsim.compare("quickstart", hw="h100", policy="full,kivi", limit=60, settings=settings)
    assert all(row.rejected and not row.pareto for row in found.rows)
    assert found.says.startswith("None serves every request")
    assert "away: not on the front" in render(found)


def _row(hw: str, usd: float, late_s: float, hbm: int, busy: float = 0.9) -> Row:
    return Row(
        hw,
        "full",
        "vllm",
        usd_per_mtok=usd,
        latency_s=late_s,
        memory_bytes=hbm,
        rejected=0,
        busy=busy,
        expected_error=0.25,
    )


def test_advice() -> None:
    one = _row("a", 1.0, 2.0, 10**9)
    assert advice([one], "ttft_p99") == (
        "a with full is the cheapest ($1.00 per million output tokens) and the fastest (ttft p99 2.00 s)."
    )
    said = advice([one, _row("b", 3.0, 1.0, 10**9), _row("c", 4.0, 5.0, 10**8)], "e2e_p50")
    assert "a with full is the cheapest ($1.00 per million output tokens, e2e p50 2.00 s); " in said
    assert "b with full is the fastest (1.00 s) at 3.00 times the cost; c with full needs the least HBM" in said
    assert "within the error" in advice([one, _row("b", 1.1, 3.0, 10**9)], "e2e_p50")
    assert "`kvsim plan`" in advice([_row("a", 1.0, 2.0, 10**9, 0.2)], "e2e_p50")


def test_strange_arguments() -> None:
    with pytest.raises(TypeError, match="unknown argument until_s"):
        kvsim.compare("quickstart", until_s=3)  # type: ignore[call-arg]
