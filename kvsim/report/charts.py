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
_NEAR, _LETTER = 18.0, 9.5  # a label's height and the width of its letters, on a phone


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


@dataclass(frozen=True)
class Point:
    """A mark with a short label beside it, filled where it matters."""

    label: str
    x: float
    y: float
    look: int
    filled: bool


def point_chart(key: str, title: str, about: str, points: Sequence[Point], x: Axis, y: Axis) -> Html:
    """Marks over two axes, the filled ones on top; marks that lie together share a label such as "1, 4"."""
    drawn, labels = [_grid(x, y)], list[tuple[float, float, list[str]]]()
    for point in points:
        across, down = float(_across(x, np.array([point.x]))[0]), float(_down(y, np.array([point.y]))[0])
        look = f"bar s{point.look}" if point.filled else f"ring s{point.look}"
        drawn.insert(len(drawn) if point.filled else 1, tag("circle", class_=look, cx=across, cy=down, r=6.0))
        near = [names for left, top, names in labels if abs(left - across) < _NEAR and abs(top - down) < _NEAR]
        if near:
            near[0].append(point.label)
        else:
            labels.append((across, down, [point.label]))
    taken: list[tuple[float, float, float]] = []
    for across, down, names in labels:
        drawn.append(_beside(across, down, ", ".join(names), taken))
    return _svg(key, title, about, HEIGHT, drawn)


def _beside(across: float, down: float, text: str, taken: list[tuple[float, float, float]]) -> Html:
    """A label right of a mark, or where else none of `taken` (left, right, middle) is; what it takes is added."""
    wide = _LETTER * len(text)
    places = (
        (across + 9.0, across + 9.0, down, "start"),
        (across - 9.0, across - 9.0 - wide, down, "end"),
        (across, across - wide / 2, down - 15.0, "middle"),
        (across, across - wide / 2, down + 16.0, "middle"),
    )
    free = [place for place in places if _is_free(place[1], place[1] + wide, place[2], taken)]
    x, left, middle, anchor = (free or places)[0]
    taken.append((left, left + wide, middle))
    return tag("text", text, x=x, y=middle + 4.5, text_anchor=anchor)


def _is_free(left: float, right: float, middle: float, taken: Sequence[tuple[float, float, float]]) -> bool:
    apart = (right <= one or left >= other or abs(middle - third) >= _NEAR for one, other, third in taken)
    return left >= _LEFT and right <= WIDTH and all(apart)


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
