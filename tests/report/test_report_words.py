"""Figures as text, and the sentence on what bounded a run."""

from typing import Any

import numpy as np
import pytest

import kvsim
from kvsim.report.table import render
from kvsim.report.words import amount, bar, count, digits, percent, plural, seconds
from kvsim.traces.trace import Trace


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 s"), (1.234, "1.23 s"), (0.0123, "12.3 ms"), (4000.0, "4,000 s"), (0.9996, "1.00 s"),
        (3e-7, "0.3 us"), (None, "-"),
    ],
)  # fmt: skip
def test_seconds(value: float | None, text: str) -> None:
    assert seconds(value) == text


def test_other_figures() -> None:
    assert [amount(v) for v in (0, 999, 85.5e9, 1.979e12, None)] == ["0 B", "999 B", "85.5 GB", "1.98 TB", "-"]
    assert [count(v, "FLOP/s") for v in (989.4e12, 5)] == ["989 TFLOP/s", "5 FLOP/s"]
    assert [digits(v) for v in (0, 0.01234, 1.234, 99.94, 99.96, 12345.6)] == [
        "0.00",
        "0.0123",
        "1.23",
        "99.9",
        "100",
        "12,346",
    ]
    assert [percent(v) for v in (0.0123, 0.8765, 0.999, None)] == ["1.2 %", "87.6 %", "100 %", "-"]
    assert [plural(v, "chip") for v in (1, 2000)] == ["1 chip", "2,000 chips"]
    assert [bar(share, 8, fancy=False) for share in (-1, 0.5, 3)] == ["        ", "####    ", "########"]
    assert bar(0.5, 3) == "█▌ " and len(bar(0.37, 20)) == 20


def _trace(requests: int, gap_s: float, prompt: int, output: int) -> Trace:
    lengths = np.full(requests, prompt, np.int64), np.full(requests, output, np.int64)
    return Trace("made", np.arange(requests) * gap_s, *lengths)


SCENES: list[tuple[Trace, dict[str, Any], tuple[str, ...]]] = [
    (_trace(5, 100.0, 100, 10), {}, ("Underloaded: the busiest lane, the GPU",)),
    (_trace(40, 0.2, 100, 200), {}, ("The GPU is the busiest lane", "streams weights", "the system keeps up")),
    (_trace(16, 0.01, 30_000, 400), {}, ("The GPU is the busiest lane", "a cache policy will not help")),
    (_trace(20, 0.5, 8000, 300), {"policy": "headinfer"}, ("The host link to the GPU", "fetches the whole cache")),
    (
        _trace(60, 0.01, 500, 300),
        {"settings": {"kv_blocks": 300}},
        ("the cache's room in HBM is full", "store fewer bytes"),
    ),
    (_trace(60, 0.01, 500, 300), {"settings": {"max_num_seqs": 2}}, ("max_num_seqs=2 sequences run", "max_num_seqs=4")),
    (_trace(60, 0.01, 500, 300), {"serving": "static"}, ("a static batch is held",)),
    (_trace(60, 0.01, 9000, 30), {"serving": "orca"}, ("100 % of prompts exceed max_num_batched_tokens=8192",)),
    (_trace(9, 1.0, 100, 100), {"settings": {"schedule_step_s": 0.1}}, ("The host's CPU is the busiest lane",)),
    (_trace(9, 1.0, 100, 100), {"settings": {"max_model_len": 10}}, ("No request was completed: rejected were 9",)),
    (_trace(9, 1.0, 100, 100), {"until_s": 0.001}, ("the clock stopped too early",)),
]


@pytest.mark.parametrize(
    ("trace", "options", "words"), SCENES, ids=lambda value: value[0] if isinstance(value, tuple) else ""
)
def test_what_bounded_a_run(trace: Trace, options: dict[str, Any], words: tuple[str, ...]) -> None:
    figures = kvsim.run(trace, **options).figures
    for expected in words:
        assert expected in figures["bound"], figures["bound"]
    assert "\n" not in figures["bound"] and figures["bound"].endswith(".")
    if figures["gpu_time"]:
        assert sum(figures["gpu_time"].values()) == pytest.approx(1.0)


def test_the_table_fits_any_run() -> None:
    for trace, options, _ in SCENES:
        text = render(kvsim.run(trace, **options), fancy=False)
        assert all(len(line) <= 96 for line in text.splitlines()), text
        assert text.isascii() and "nan" not in text.lower().split() and "None" not in text
