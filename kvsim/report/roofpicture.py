"""What a roofline plot shows, whoever draws it: a panel for each policy, its dots, their labels, the common axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from kvsim.report.rooftable import LEAST
from kvsim.report.words import amount
from kvsim.roofs import Dot, Roof, Roofline

# group -> (what it is called, colour); Okabe and Ito's palette. Shapes differ too, so that grey prints tell them apart.
GROUPS = {
    "linear": ("linear layers", "#0072B2"),
    "attention": ("attention", "#D55E00"),
    "step": ("whole step, on each roof", "#333333"),
}
LANE_COLOURS = {"gpu": "#333333", "h2d": "#00795A", "d2h": "#A8497F", "nvlink": "#006D77"}
LANE_COLOURS |= {"nvme_read": "#8A5A00", "nvme_write": "#B8860B", "csd": "#5B4B8A", "cpu": "#7A3B3B", "cxl": "#3B6E7A"}
LANE_COLOURS |= {"nic": "#4A7A3B", "codec": "#7A6A3B"}
LANE_DASHES = {"gpu": (), "h2d": (6, 3), "d2h": (2, 3), "nvlink": (8, 3, 2, 3)}
LANE_DASHES |= {"nvme_read": (4, 2), "nvme_write": (1, 2), "csd": (10, 4), "cpu": (3, 1), "cxl": (6, 2), "nic": (5, 5)}
LANE_DASHES |= {"codec": (1, 4)}
_NEAR = 0.12  # decades between labels that become one


@dataclass(frozen=True)
class Label:
    """The batch sizes of dots that lie together, at the longest of them."""

    text: str
    intensity: float
    flops_per_s: float


@dataclass(frozen=True)
class Panel:
    """One policy's dots."""

    policy: str
    dots: tuple[Dot, ...]
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Picture:
    """Panels on common logarithmic axes: the least and largest FLOPs a byte and FLOP/s."""

    panels: tuple[Panel, ...]
    intensities: tuple[float, float]
    rates: tuple[float, float]


def picture(found: Roofline) -> Picture:
    """Of a roofline: Ops with FLOPs and at least `LEAST` of their step, and the steps on roofs they come near."""
    shown = [dot for dot in found.dots if _is_shown(dot)]
    panels = []
    for policy in dict.fromkeys(dot.policy for dot in found.dots):
        dots = [dot for dot in shown if dot.policy == policy]
        panels.append(Panel(policy, tuple(dots), tuple(_labels(dots))))
    ridges = [max(found.peaks.values()) / roof.bytes_per_s for roof in found.roofs]
    across = [dot.intensity for dot in shown if dot.intensity] + [3 * ridge for ridge in ridges]
    up = [dot.flops_per_s for dot in shown]
    top = max(found.peaks.values())
    return Picture(tuple(panels), (0.4 * min(across), 1.6 * max(across)), (0.4 * min(up), 2.5 * top))


def roof_line(bytes_per_s: float, peak: float, view: Picture) -> list[tuple[float, float]]:
    """The corners of a roof inside the axes: up along the bandwidth, then along the peak."""
    (left, right), (low, _) = view.intensities, view.rates
    first = max(left, low / bytes_per_s)
    ridge = peak / bytes_per_s
    return [(first, first * bytes_per_s), (ridge, peak), (max(right, ridge), peak)]


def ticks(limits: tuple[float, float]) -> list[float]:
    """Powers of ten inside the limits."""
    low, high = (math.log10(limit) for limit in limits)
    return [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)]


def tick(value: float) -> str:
    """1e-1 -> "0.1", 10 -> "10", 1e4 -> "10 k", 1e15 -> "1 P"."""
    power = round(math.log10(value))
    if power < 0:
        return f"{value:.{-power}f}"
    return f"{10 ** (power % 3)} {' kMGTPE'[min(power // 3, 6)]}".rstrip()


def roof_names(found: Roofline) -> list[tuple[str, Roof]]:
    """What to write along each roof; the two directions of a link, which lie on each other, share one."""
    rates = [roof.bytes_per_s for roof in found.roofs]
    first = [roof for at, roof in enumerate(found.roofs) if roof.bytes_per_s not in rates[:at]]
    return [
        (f"{roof.name}{' and back' if rates.count(roof.bytes_per_s) > 1 else ''} {amount(roof.bytes_per_s)}/s", roof)
        for roof in first
    ]


def _is_shown(dot: Dot) -> bool:
    """A step far below a roof says nothing about it."""
    return dot.intensity is not None and (dot.roof_share >= LEAST if dot.group == "step" else dot.step_share >= LEAST)


def _labels(dots: Sequence[Dot]) -> list[Label]:
    """Of decode's dots, whose place the batch moves: one for each batch and group, those at one place joined."""
    longest: dict[tuple[str, str, int], Dot] = {}
    for dot in dots:
        if dot.phase == "decode":
            key = (dot.group, dot.lane, dot.batch)
            if key not in longest or dot.seconds > longest[key].seconds:
                longest[key] = dot
    placed: list[tuple[list[int], float, float]] = []
    for dot in longest.values():
        at = (dot.intensity or 1.0, dot.flops_per_s)
        near = next((spot for spot in placed if math.dist(_logs(spot[1:]), _logs(at)) < _NEAR), None)
        if near is None:
            placed.append(([dot.batch], *at))
        elif dot.batch not in near[0]:
            near[0].append(dot.batch)
    return [Label(", ".join(f"{batch:,}" for batch in sorted(spot[0])), *spot[1:]) for spot in placed]


def _logs(at: Sequence[float]) -> list[float]:
    return [math.log10(value) for value in at]
