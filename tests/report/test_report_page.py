"""A page's parts: everything is escaped, charts show their data, and the checker of pages finds what is wrong."""

import re

import numpy as np
import pytest
from page_faults import faults

from kvsim.report.axis import Axis, linear, logarithmic, round_label
from kvsim.report.charts import Line, bar_chart, line_chart
from kvsim.report.markup import Html, joined, short, tag
from kvsim.report.page import answer, bullets, command, entry, figure, page, paragraph, section, table
from kvsim.report.words import seconds

NASTY = "<script>alert(1)</script>\"'&amp;"


def _page(*sections: Html) -> str:
    return page("title", answer("title", "about", "Yes.", [], [("name", "1", "note")]), *sections, foot="foot")


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "a < b & c", title='"x"') == '<p title="&quot;x&quot;">a &lt; b &amp; c</p>'
    assert tag("p", tag("b", "x"), "<") == "<p><b>x</b>&lt;</p>"
    assert tag("meta", charset="utf-8", content=None) == '<meta charset="utf-8">'
    assert joined("<", tag("i"), Html("<")) == "&lt;<i></i><"
    assert tag("rect", class_="bar", stroke_width=1.25, x=-0.01) == '<rect class="bar" stroke-width="1.2" x="0"></rect>'
    assert [short(value) for value in (3.0, -0.04, 2.25, 10.06)] == ["3", "0", "2.2", "10.1"]


def test_nothing_gets_out_of_any_part() -> None:
    lines = [Line(NASTY, np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1)]
    axis = Axis(0.0, 1.0, ((0.0, NASTY),))
    chart = line_chart("chart", NASTY, NASTY, lines, axis, axis)
    bars = bar_chart("bars", NASTY, NASTY, [(NASTY, (1.0,))], lambda _: NASTY)
    text = page(
        NASTY,
        answer(NASTY, NASTY, NASTY, [NASTY], [(NASTY, NASTY, NASTY)]),
        section("one", NASTY, paragraph(NASTY), bullets([NASTY]), command(NASTY)),
        figure("two", NASTY, chart, [entry(NASTY, 1)], NASTY, NASTY),
        figure("three", NASTY, bars),
        table("four", NASTY, (NASTY, NASTY), [(NASTY, NASTY)], looks={1: "text"}),
        foot=NASTY,
    )
    assert not list(faults(text))
    assert "<script" not in text and text.count("&lt;script&gt;") >= 20


def test_points_lie_where_the_axes_say() -> None:
    x, y = linear(10.0, round_label), linear(2.0, round_label)
    line = Line("a", np.array([0.0, 5.0, 10.0]), np.array([0.0, 2.0, 9.0]), 1)
    chart = line_chart("key", "title", "about", [line], x, y)
    assert 'class="line s1" d="M66 230L266 10L466 10"' in chart  # what lies above the axis is cut at its end
    assert re.findall(r'text-anchor="end">([^<]+)<', chart) == ["0", "0.5", "1", "1.5", "2", "10"]


def test_points_that_show_nothing_are_left_out() -> None:
    level = Line("a", np.linspace(0, 10, 500), np.ones(500), 1)
    chart = line_chart("key", "title", "about", [level], linear(10.0, round_label), linear(2.0, round_label))
    assert 'd="M66 120L466 120"' in chart


@pytest.mark.parametrize(
    ("high", "labels"),
    [(1.0, "0 0.2 0.4 0.6 0.8 1"), (7.0, "0 2 4 6"), (1234.0, "0 500 1,000"), (0.0, "0 0.2 0.4 0.6 0.8 1")],
)
def test_round_ticks(high: float, labels: str) -> None:
    assert " ".join(label for _, label in linear(high, round_label).ticks) == labels


def test_decades() -> None:
    axis = logarithmic(0.002, 30.0, round_label)
    assert (axis.low, axis.high) == (pytest.approx(0.001), pytest.approx(100.0))
    assert axis.share(np.array([0.001, 0.01, 100.0, 0.0, 1e9])) == pytest.approx([0, 0.2, 1, 0, 1])
    assert len(logarithmic(1e-9, 1e9, round_label).ticks) <= 6
    assert len(logarithmic(1.0, 1.0, round_label).ticks) == 2


def test_bars_are_as_long_as_their_parts() -> None:
    chart = bar_chart("key", "title", "about", [("a", (1.0, 3.0)), ("b", (0.0, 2.0))], seconds)
    assert [float(width) for width in re.findall(r'width="([\d.]+)" height', chart)] == [97.5, 292.5, 195.0]
    assert "4.00 s" in chart and "2.00 s" in chart
    assert not re.search(r"nan|inf", bar_chart("key", "title", "about", [("a", (0.0,))], seconds))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("<p>", "closes"),
        ("<img src='http://example.com/x.png' alt='x'>", "fetches http"),
        ("<img src='data:,'>", "without alt"),
        ("<script></script>", "<script>"),
        ("<h4>deep</h4>", "headings out of order"),
        ("<h1>again</h1>", "2 elements <h1>"),
        ("<p id='x'>a</p><p id='x'>b</p>", "used 2 times"),
        ("<svg></svg>", "without a name"),
        ("<table><thead></thead><tbody></tbody></table>", "<caption>"),
        ("<table><caption>c</caption><thead><tr><th>x</th></tr></thead><tbody></tbody></table>", "without scope"),
        ("<p aria-labelledby='gone'>x</p>", "names nothing"),
        ("<p onclick='x()'>x</p>", "handler"),
        ("<style>p { background: url(x.png) }</style>", "style sheet fetches"),
        ("<h2></h2>", "empty <h2>"),
    ],
)
def test_the_checker_finds_what_is_wrong(wrong: str, says: str) -> None:
    assert not list(faults(_page()))
    assert any(says in fault for fault in faults(_page(Html(wrong))))
