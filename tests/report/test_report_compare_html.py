"""`compare --out DIR` writes a page: every system with its figures, what to take first, whole and escaped."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from page_faults import faults

import kvsim
from kvsim.decide.compare import Comparison
from kvsim.report.axis import tight
from kvsim.report.charts import Point, point_chart
from kvsim.report.comparefolder import write
from kvsim.report.comparehtml import compare_page
from kvsim.report.words import digits, seconds

ORIGIN: dict[str, Any] = {"kvsim": "1.2.3", "command": "kvsim compare it", "sha256": {"trace": {"it.csv": "ab" * 32}}}


@pytest.fixture(scope="module")
def found() -> Comparison:
    """Two machines, three policies, one of which cannot run on the smaller."""
    return kvsim.compare("quickstart", hw="h100,l40s", policy="full,kivi,headinfer", limit=30, workers=1)


def _text(page: str) -> str:
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


def test_the_page_says_what_the_comparison_says(found: Comparison) -> None:
    page = compare_page(found, ORIGIN)
    assert not list(faults(page))
    head = _text(page[: page.index("<h2")])
    assert found.says in head and len(page.encode()) < 100_000
    text = _text(page)
    for number, row in enumerate(found.rows, 1):
        assert f"{number}: {row.system} {'yes' if row.pareto else 'no'} {digits(row.usd_per_mtok)}" in text
        assert seconds(row.ttft_p99_s) in text
    for note in (*found.assumptions, *(note for row in found.rows for note in row.notes), ORIGIN["command"]):
        assert " ".join(note.split()) in text
    assert page.count("<circle") == len(found.rows)


def test_what_cannot_run_and_what_is_turned_away(found: Comparison) -> None:
    none = dict.fromkeys(("usd_per_mtok", "latency_s", "bound", "ttft_p99_s"))
    broken = replace(found.rows[0], problem="does not fit", pareto=False, notes=(), **none)
    turned = replace(found.rows[1], rejected=3, pareto=False)
    page = compare_page(replace(found, rows=(broken, turned, *found.rows[2:])), ORIGIN)
    assert not list(faults(page))
    assert "cannot run: does not fit" in _text(page) and "turns 3 requests away" in _text(page)
    page = compare_page(replace(found, rows=(broken,)), ORIGIN)
    assert not list(faults(page)) and "<circle" not in page


def test_names_cannot_break_it(found: Comparison) -> None:
    nasty = "<script>alert(1)</script>\"'<img src=x>"
    rows = tuple(replace(row, policy=nasty, bound=nasty, notes=(nasty,)) for row in found.rows)
    page = compare_page(replace(found, trace=nasty, model=nasty, says=nasty, rows=rows), ORIGIN)
    assert not list(faults(page)) and "<script" not in page and "<img" not in page


def test_equal_comparisons_are_equal_bytes(found: Comparison, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(replace(found, wall_s=len(name) * 1.0), tmp_path / name, "quickstart", "kvsim compare quickstart")
    pages = [(tmp_path / name / "report.html").read_bytes() for name in ("one", "two")]
    assert pages[0] == pages[1]


def test_marks_that_lie_together_share_a_label() -> None:
    axis = tight(1.0, 10.0, digits)
    points = [Point("1", 2.0, 2.0, 1, True), Point("2", 2.01, 2.0, 2, False), Point("3", 9.0, 9.0, 3, True)]
    chart = point_chart("key", "title", "about", points, axis, axis)
    assert ">1, 2</text>" in chart and ">3</text>" in chart and chart.index("ring s2") < chart.index("bar s1")


@pytest.mark.parametrize(("low", "high"), [(0.3, 40.0), (1.0, 1.0), (0.011, 0.013), (1e-5, 1e5)])
def test_tight_axes_have_few_ticks_inside(low: float, high: float) -> None:
    axis = tight(low, high, digits)
    assert axis.low < low <= high < axis.high and len(axis.ticks) <= 6
    assert all(axis.low <= tick <= axis.high for tick, _ in axis.ticks)
