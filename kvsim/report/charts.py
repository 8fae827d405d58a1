"""Charts as inline SVG: colours from the page's style sheet, text that is text, equal bytes for equal data.

They hold the plot and its tick labels alone. Titles, units and legends are the page's, so that they wrap on a phone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.report.axis import Axis
from kvsim.report.markup import Html, joined, short, tag

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 480.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 14.0, 10.0, 30.0
_ROW, _BAR = 44.0, 22.0


@dataclass(frozen=True)
class Line:
    """A curve. `look` numbers its colour and dashes in the style sheet, from 1; `above` fills down to those values."""

    name: str
    x: Floats
    y: Floats
    look: int
    above: Floats | None = None
    stroke: bool = True


def line_chart(key: str, title: str, about: str, lines: Sequence[Line], x: Axis, y: Axis) -> Html:
    """Curves over two axes.

    Args:
        key: begins the ids of its parts, unique in the page. title, about: its name and description, read aloud.
    """
    parts = [_grid(x, y)]
    for line in lines:
        across, down = _across(x, line.x), _down(y, line.y)
        if line.above is not None:
            under = list(zip(across, _down(y, line.above), strict=True))[::-1]
            area = f"M{_points(list(zip(across, down, strict=True)) + under)}Z"
            parts.append(tag("path", class_=f"area s{line.look}", d=area))
        if line.stroke:
            parts.append(
                tag("path", class_=f"line s{line.look}", d=f"M{_points(list(zip(across, down, strict=True)))}")
            )
    return _svg(key, title, about, HEIGHT, parts)


def bar_chart(
    key: str, title: str, about: str, rows: Sequence[tuple[str, Sequence[float]]], label: Callable[[float], str]
) -> Html:
    """Rows of stacked bars on one scale: each a name and its parts; `label` writes the sum at the bar's end."""
    most = max((sum(parts) for _, parts in rows), default=0.0) or 1.0
    room, drawn = WIDTH - 90.0, []
    for number, (name, parts) in enumerate(rows):
        top, left = number * _ROW, 0.0
        drawn.append(tag("text", name, x=0.0, y=top + 14.0))
        for look, part in enumerate(parts, 1):
            width = room * part / most
            if width >= 0.05:
                bar = {"x": left, "y": top + 19.0, "width": width, "height": _BAR - 3.0}
                drawn.append(tag("rect", class_=f"bar s{look}", **bar))
            left += width
        drawn.append(tag("text", label(sum(parts)), x=left + 6.0, y=top + 34.0))
    return _svg(key, title, about, max(1, len(rows)) * _ROW, drawn)


def swatch(look: int, filled: bool = False) -> Html:
    """A legend's sample of a look; says nothing aloud."""
    if filled:
        inside = tag("rect", class_=f"bar s{look}", x=0.0, y=1.0, width=24.0, height=10.0)
    else:
        inside = tag("path", class_=f"line s{look}", d="M0 6L24 6")
    return tag("svg", inside, class_="swatch", viewBox="0 0 24 12", aria_hidden="true", focusable="false")


def _grid(x: Axis, y: Axis) -> Html:
    bottom, drawn = HEIGHT - _BOTTOM, []
    for at, text in y.ticks:
        down = float(_down(y, np.array([at]))[0])
        drawn.append(tag("path", class_="grid", d=f"M{short(_LEFT)} {short(down)}H{short(WIDTH - _RIGHT)}"))
        drawn.append(tag("text", text, x=_LEFT - 6.0, y=down + 4.5, text_anchor="end"))
    for at, text in x.ticks:
        across = float(_across(x, np.array([at]))[0])
        drawn.append(tag("path", class_="grid", d=f"M{short(across)} {short(_TOP)}V{short(bottom)}"))
        anchor = "end" if across > WIDTH - 40 else "middle"
        drawn.append(tag("text", text, x=across, y=bottom + 20.0, text_anchor=anchor))
    return tag("g", *drawn)


def _across(axis: Axis, values: Floats) -> Floats:
    across: Floats = _LEFT + (WIDTH - _LEFT - _RIGHT) * axis.share(values)
    return across


def _down(axis: Axis, values: Floats) -> Floats:
    down: Floats = HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * axis.share(values)
    return down


def _points(points: Sequence[tuple[float, float]]) -> str:
    """Path data, without points that repeat the one before, or lie between equal neighbours on a level."""
    kept: list[tuple[str, str]] = []
    for across, down in points:
        point = short(across), short(down)
        if kept and kept[-1] == point:
            continue
        if len(kept) > 1 and kept[-1][1] == kept[-2][1] == point[1]:
            kept.pop()
        kept.append(point)
    return "L".join(" ".join(point) for point in kept)


def _svg(key: str, title: str, about: str, height: float, parts: Sequence[Html]) -> Html:
    named = (tag("title", title, id=f"{key}-title"), tag("desc", about, id=f"{key}-about"))
    return tag(
        "svg",
        *named,
        joined(*parts),
        class_="chart",
        role="img",
        viewBox=f"0 0 {short(WIDTH)} {short(height)}",
        aria_labelledby=f"{key}-title {key}-about",
    )
