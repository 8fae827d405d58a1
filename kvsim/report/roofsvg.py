"""A roofline's panels as SVG: the same picture as the PNG, whose dots can be pointed at and walked through by keys."""

import math
from collections.abc import Iterator
from html import escape

from kvsim.cost.op import GPU
from kvsim.report.roofpicture import (
    GROUPS,
    LANE_COLOURS,
    LANE_DASHES,
    Panel,
    Picture,
    roof_line,
    roof_names,
    tick,
    ticks,
)
from kvsim.report.words import amount, count, digits, percent, seconds
from kvsim.roofs import Dot, Roofline

WIDE, HIGH = 480.0, 400.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 8.0, 12.0, 44.0


class Scale:
    """From FLOPs a byte and FLOP/s to a panel's pixels."""

    def __init__(self, view: Picture) -> None:
        self._view = view

    def x(self, intensity: float) -> float:
        """Pixels from the left."""
        low, high = self._view.intensities
        return _LEFT + math.log(intensity / low) / math.log(high / low) * (WIDE - _LEFT - _RIGHT)

    def y(self, rate: float) -> float:
        """Pixels from above."""
        low, high = self._view.rates
        return HIGH - _BOTTOM - math.log(rate / low) / math.log(high / low) * (HIGH - _TOP - _BOTTOM)


def svg(panel: Panel, view: Picture, found: Roofline, first: bool) -> str:
    """One panel. `first`: whether the Tab key reaches its dots; arrow keys reach the others."""
    scale = Scale(view)
    name = escape(f"Roofline of policy {panel.policy}: {len(panel.dots)} Ops; the table below holds their figures")
    parts = [f'<svg viewBox="0 0 {WIDE:g} {HIGH:g}" role="group" aria-label="{name}">']
    parts += _axes(scale, view)
    parts += _roofs(scale, view, found)
    parts += [_label(scale, label.text, label.intensity, label.flops_per_s) for label in panel.labels]
    parts += [_dot(scale, dot, 0 if first and at == 0 else -1) for at, dot in enumerate(panel.dots)]
    return "\n".join([*parts, "</svg>"])


def mark(group: str, colour: str, filled: bool, x: float, y: float) -> str:
    """A dot's shape: a circle, a square or a diamond."""
    paint = f'fill="{colour if filled else "#fff"}" stroke="{colour}" stroke-width="1.6"'
    if group == "attention":
        return f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" {paint}/>'
    if group == "step":
        corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        return f'<polygon points="{corners}" {paint}/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.4" {paint}/>'


def colour_of(dot: Dot) -> str:
    """Of its group; of its lane if it is a whole step."""
    return LANE_COLOURS[dot.lane] if dot.group == "step" else GROUPS[dot.group][1]


def told(dot: Dot) -> str:
    """What a tooltip says, and a screen reader reads."""
    lines = [
        f"{dot.op}, {dot.phase}, batch {dot.batch:,}",
        f"{seconds(dot.seconds)}, {percent(dot.step_share)} of the step",
        f"{count(dot.flops, 'FLOP')}, {amount(dot.bytes)}: {digits(dot.intensity)} FLOPs a byte",
        f"{count(dot.flops_per_s, 'FLOP/s')}, {percent(dot.roof_share)} of its roof",
        f"bound by {dot.bound}",
    ]
    return "\n".join(lines)


def _axes(scale: Scale, view: Picture) -> Iterator[str]:
    left, right, top, bottom = _LEFT, WIDE - _RIGHT, _TOP, HIGH - _BOTTOM
    yield '<g class="axes" aria-hidden="true">'
    for value in ticks(view.intensities):
        x = scale.x(value)
        yield f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{tick(value)}</text>'
    for value in ticks(view.rates):
        y = scale.y(value)
        yield f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{tick(value)}</text>'
    middle = (top + bottom) / 2
    below = "arithmetic intensity (FLOPs a byte)"
    yield f'<text x="{(left + right) / 2}" y="{HIGH - 8}" text-anchor="middle">{below}</text>'
    yield f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">attained FLOP/s</text></g>'


def _roofs(scale: Scale, view: Picture, found: Roofline) -> Iterator[str]:
    yield '<g class="roofs" aria-hidden="true">'
    for dtype, peak in found.peaks.items():
        y = scale.y(peak)
        yield f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDE - _RIGHT}" y2="{y:.1f}" stroke="#555"/>'
        yield f'<text x="{_LEFT + 4}" y="{y - 5:.1f}" fill="#555">{escape(dtype)} {count(peak, "FLOP/s")}</text>'
    for name, roof in roof_names(found):
        (left, low), (ridge, top) = roof_line(roof.bytes_per_s, max(found.peaks.values()), view)[:2]
        x1, y1, x2, y2 = scale.x(left), scale.y(low), scale.x(ridge), scale.y(top)
        colour, dashes = LANE_COLOURS[roof.lane], " ".join(map(str, LANE_DASHES[roof.lane]))
        yield (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-dasharray="{dashes}"/>'
        )
        along = 0.02 if roof.lane == GPU else 0.45
        x, y = x1 + along * (x2 - x1), y1 + along * (y2 - y1)
        angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
        place = f"translate({x:.1f} {y:.1f}) rotate({angle:.1f}) translate(0 -5)"
        yield f'<text transform="{place}" fill="{colour}">{escape(name)}</text>'
    yield "</g>"


def _label(scale: Scale, text: str, intensity: float, rate: float) -> str:
    x, y = scale.x(intensity) + 7, scale.y(rate) + 12
    return f'<text class="batch" x="{x:.1f}" y="{y:.1f}" aria-hidden="true">{escape(text)}</text>'


def _dot(scale: Scale, dot: Dot, tab: int) -> str:
    x, y = scale.x(dot.intensity or 1.0), scale.y(dot.flops_per_s)
    text = escape(told(dot), quote=True)
    shape = mark(dot.group, colour_of(dot), dot.phase == "prefill", x, y)
    return f'<g class="dot" role="img" tabindex="{tab}" aria-label="{text}">{shape}</g>'
