"""`report.html`: says what the run's figures say, in every kind of run, escaped, small, and whole without a network."""

import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_faults import faults

import kvsim
from kvsim.report.html import run_page
from kvsim.report.record import Record
from kvsim.report.words import seconds
from kvsim.traces.open import open_trace
from kvsim.traces.trace import Trace

ORIGIN: dict[str, Any] = {
    "rates": "datasheet",
    "expected_error": 0.25,
    "kvsim": "1.2.3",
    "command": "kvsim run it --out there",
    "sha256": {"trace": {"it.csv": "ab" * 32}, "data": {"h100.yaml": "cd" * 32}},
}


def _page(trace: str | Trace = "quickstart", **options: Any) -> tuple[kvsim.Report, str]:
    record = Record()
    report = kvsim.run(trace, observers=(record,), **options)
    return report, run_page(report, record, ORIGIN)


def _text(page: str) -> str:
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)).split())


RUNS: dict[str, dict[str, Any]] = {
    "full": {"policy": "full", "limit": 60},
    "offloaded": {"policy": "headinfer", "limit": 60},
    "preempting": {"policy": "full", "settings": {"kv_blocks": 500}, "limit": 60},
    "swapping": {"policy": "full", "settings": {"kv_blocks": 500, "preemption": "swap"}, "limit": 60},
    "replicas": {"policy": "full", "replicas": 3, "limit": 60},
    "one request": {"limit": 1},
    "nothing fits": {"settings": {"max_model_len": 1}, "limit": 5},
    "stopped at once": {"until_s": 1e-6, "limit": 5},
}


@pytest.mark.parametrize("name", RUNS)
def test_any_run_has_a_page_without_faults(name: str) -> None:
    report, page = _page(**RUNS[name])
    assert not list(faults(page))
    text = _text(page)
    for expected in (report.figures["bound"], *report.figures["assumptions"], ORIGIN["command"], "ab" * 32):
        assert " ".join(expected.split()) in text
    for key in ("ttft_s", "e2e_s"):
        late = report.figures[key]["p99"]
        assert late is None or seconds(late) in text
    assert not re.search(r"\b(nan|inf|None)\b", text)
    assert len(page.encode()) < 300_000


def test_the_answer_comes_first() -> None:
    report, page = _page(limit=60)
    head = _text(page[: page.index("<h2")])
    assert report.figures["bound"] in head and "60 of 60 requests were completed" in head and "±25%" in head


def test_names_cannot_break_the_page() -> None:
    trace, _ = open_trace("quickstart", limit=20)
    nasty = "<script>alert(1)</script>\"'><img src=x onerror=y>"
    page = _page(replace(trace, name=nasty, notes=(nasty,)))[1]
    assert not list(faults(page))
    assert "<script" not in page and "<img" not in page and nasty in unescape(page)


def test_a_long_run_stays_small() -> None:
    requests = 20_000
    made = np.random.default_rng(1)
    lengths = made.integers(50, 2000, requests), made.integers(2, 30, requests)
    _, page = _page(Trace("long", np.sort(made.uniform(0, 9000.0, requests)), *lengths), policy="headinfer")
    assert len(page.encode()) < 300_000 and not list(faults(page))


def test_the_slowest_requests_are_those_of_the_columns() -> None:
    report, page = _page(limit=60)
    columns = report.simulation.columns
    e2e_s = columns.done_s - columns.arrival_s
    table = page[page.index('id="slowest"') :]
    rows = re.findall(r'<tr><th scope="row">([\d,]+)</th><td>([^<]+)</td>', table[: table.index("</table>")])
    expected = np.argsort(e2e_s, kind="stable")[::-1][:10]
    assert rows == [(str(index + 1), seconds(float(e2e_s[index]))) for index in expected]


def test_the_style_sheet_is_beside_the_module() -> None:
    folder = Path(kvsim.__file__).parent / "report"
    assert (folder / "page.css").is_file()
    assert "*.css" in (folder.parents[1] / "setup.cfg").read_text()
