"""Ops under roofs: nothing above its roof, sums equal to the step's, and pictures that show what the table says."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import kvsim
from kvsim.errors import UserError
from kvsim.report.roofpage import page
from kvsim.report.roofpicture import picture, roof_line, tick, ticks
from kvsim.report.roofplot import draw
from kvsim.report.roofsvg import told
from kvsim.roofs import Roofline


@pytest.fixture(scope="module")
def found() -> Roofline:
    return kvsim.roofline(
        hw="h100", model="llama-3-8b", policy=["full", "kivi", "headinfer"], batch=[1, 64], context=16_000
    )


def test_nothing_lies_above_its_roof(found: Roofline) -> None:
    peak = found.peaks["bf16"]
    rates = {roof.lane: roof.bytes_per_s for roof in found.roofs}
    assert (peak, rates) == (989.4e12, {"gpu": 3.35e12, "h2d": 63e9, "d2h": 63e9})
    for dot in found.dots:
        assert 0 <= dot.roof_share <= 1, dot
        if dot.intensity:
            assert dot.flops_per_s <= min(peak, dot.intensity * rates[dot.lane]) * (1 + 1e-9), dot


@pytest.mark.parametrize("hw", ["a100-80", "rtx4090", "l40s"])
def test_measured_kernels_stay_below_too(hw: str) -> None:
    found = kvsim.roofline(hw=hw, model="llama-3-8b", policy=["full", "kivi"], batch=[1, 16, 256], context=8000)
    assert all(0 <= dot.roof_share <= 1 for dot in found.dots)
    assert {dot.provenance for dot in found.dots if dot.op == "up_proj"} != {"datasheet"}
    assert all(0 < dot.expected_error < 1 for dot in found.dots)


def test_ops_are_those_of_the_step(found: Roofline) -> None:
    for policy in ("full", "kivi", "headinfer"):
        for phase, batch in (("prefill", 1), ("decode", 64)):
            step = kvsim.step(hw="h100", model="llama-3-8b", policy=policy, phase=phase, batch=batch, context=16_000)
            dots = [dot for dot in found.dots if (dot.policy, dot.phase, dot.batch) == (policy, phase, batch)]
            ops, whole = ([dot for dot in dots if (dot.group == "step") == is_step] for is_step in (False, True))
            assert sorted(dot.op for dot in ops) == sorted(op.name for op in step.ops)
            for lane, seconds in step.lanes.items():
                assert sum(dot.seconds for dot in ops if dot.lane == lane) == pytest.approx(float(seconds))
            assert {dot.seconds for dot in whole} == {float(step.seconds)}
            assert all(dot.flops == pytest.approx(sum(op.flops for op in ops)) for dot in whole)


def test_what_bounds_a_step_is_the_roof_that_it_is_near(found: Roofline) -> None:
    decode = {
        (dot.policy, dot.lane): dot for dot in found.dots if (dot.group, dot.phase, dot.batch) == ("step", "decode", 64)
    }
    assert decode["headinfer", "h2d"].roof_share > 0.8 and decode["headinfer", "gpu"].roof_share < 0.05
    assert decode["full", "gpu"].roof_share > 0.7 and ("full", "h2d") not in decode
    kivi = next(dot for dot in found.dots if (dot.policy, dot.op, dot.batch) == ("kivi", "attention_decode", 64))
    full = next(dot for dot in found.dots if (dot.policy, dot.op, dot.batch) == ("full", "attention_decode", 64))
    assert kivi.bytes < full.bytes / 4 and kivi.intensity > 4 * full.intensity  # type: ignore[operator]


def test_chips_of_one_replica_have_a_peer_roof() -> None:
    found = kvsim.roofline(hw="h100x8", model="llama-3-70b", batch=16, phase="decode")
    assert [roof.name for roof in found.roofs] == ["HBM3", "between chips"]
    assert {dot.lane for dot in found.dots if dot.group == "step"} == {"gpu", "nvlink"}


def test_a_roof_rises_with_its_bandwidth_to_the_peak(found: Roofline) -> None:
    view = picture(found)
    (x, y), (ridge, top), (right, flat) = roof_line(3.35e12, 1e15, view)
    assert y == pytest.approx(x * 3.35e12) and top == flat == pytest.approx(ridge * 3.35e12) and right >= ridge
    assert x >= view.intensities[0] and y >= view.rates[0] * (1 - 1e-9)


def test_ticks_are_powers_of_ten() -> None:
    assert [tick(value) for value in ticks((0.05, 2e5))] == ["0.1", "1", "10", "100", "1 k", "10 k", "100 k"]
    assert tick(1e15) == "1 P"


def test_labels_join_batches_at_one_place() -> None:
    """At 64k tokens a single sequence's attention is as near to its roof as 64 sequences'."""
    full = picture(
        kvsim.roofline(hw="h100", model="llama-3-8b", policy=["full"], batch=[1, 64], context=64_000)
    ).panels[0]
    texts = sorted(label.text for label in full.labels)
    assert texts == ["1", "1", "1, 64", "64", "64"]  # linear layers and step move with the batch, attention does not


class Page(HTMLParser):
    """What a browser would fetch, and what a reader can reach."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.dots: list[dict[str, Any]] = []
        self.rows = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.fetched += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "srcset", "data")]
        self.dots += [found] if found.get("class") == "dot" else []
        self.rows += tag == "tr"


def test_the_page_stands_alone(found: Roofline) -> None:
    text = page(found)
    read = Page(text)
    assert not read.fetched and "url(" not in text and "@import" not in text and "http" not in text
    assert read.rows == len(found.dots) + 1
    shown = [dot for panel in picture(found).panels for dot in panel.dots]
    assert [dot["aria-label"] for dot in read.dots] == [told(dot) for dot in shown]
    assert [dot["tabindex"] for dot in read.dots].count("0") == 1, "Tab stops once, arrow keys do the rest"
    assert text == page(found)


def test_dots_are_where_their_figures_are(found: Roofline) -> None:
    """Pixels are logarithms: two dots of one panel fix the scale, all others must lie on it."""
    text = page(found)
    first = text[text.index('<svg viewBox="0 0 480') : text.index("</svg></section>") + len("</svg>")]
    drawn = [group[0].attrib for group in ElementTree.fromstring(first).iter("g") if group.get("class") == "dot"]
    dots = picture(found).panels[0].dots
    places = [
        (math.log(dot.intensity or 1), float(mark["cx"])) for dot, mark in zip(dots, drawn, strict=True) if "cx" in mark
    ]
    (a, left), (b, right) = min(places), max(places)
    for value, pixel in places:
        assert pixel == pytest.approx(left + (value - a) / (b - a) * (right - left), abs=0.11)


def test_names_are_escaped(tmp_path: Path) -> None:
    text = page(
        Roofline("<hw>", "a&b", 1, {"bf16": 1e15}, (), tuple(kvsim.roofline(hw="h100", model="llama-3-8b").dots), ())
    )
    assert "<hw>" not in text and "a&amp;b on &lt;hw&gt;" in text


def test_png_of_equal_figures_is_equal(found: Roofline, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw(found, tmp_path / name)
    one, two = ((tmp_path / name).read_bytes() for name in ("one.png", "two.png"))
    assert one == two and one.startswith(b"\x89PNG") and not re.search(rb"tIME|Software", one)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"phase": "mixed"}, "phase must be one of prefill, decode, but got 'mixed'"),
        ({"batch": 0}, "batch must be whole numbers"),
        ({"batch": list(range(1, 40))}, "must be at most 64"),
        ({"policy": "kivy"}, "did you mean kivi"),
    ],
)
def test_mistakes(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kvsim.roofline(**{"hw": "h100", "model": "llama-3-8b", **words})


@pytest.mark.parametrize(
    ("hw", "policy", "lane", "bytes_per_s"),
    [
        ("h100+4nvme5", "offload:tier=flash", "nvme_read", 48e9),
        ("a6000+2csd", "instinfer", "csd", 2 * 8 * 1.4e9),
        ("h100+cxl", "headinfer:tier=cxl", "cxl", 63e9),
        ("h100", "magicpig", "cpu", 614.4e9),
    ],
)
def test_lanes_beside_the_chip_have_roofs(hw: str, policy: str, lane: str, bytes_per_s: float) -> None:
    found = kvsim.roofline(hw=hw, model="llama-3-8b", policy=policy, batch=16, context=16_000, phase="decode")
    assert {roof.lane: roof.bytes_per_s for roof in found.roofs}[lane] == pytest.approx(bytes_per_s)
    dots = [dot for dot in found.dots if dot.lane == lane]
    assert dots and all(0 < dot.roof_share <= 1 + 1e-9 for dot in dots)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_an_overlays_ops_lie_under_its_roofs(phase: str) -> None:
    found = kvsim.roofline(
        hw="vhk158", model="llama-2-7b", policy="flightllm", weight_dtype="int4", batch=1, context=512, phase=phase
    )
    assert all(0 < dot.roof_share <= 1 for dot in found.dots)
