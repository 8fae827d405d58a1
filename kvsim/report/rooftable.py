"""Ops under their roofs as text: a section for each step, its longest Ops first."""

from itertools import groupby

from kvsim.report.labels import LANES
from kvsim.report.table import wrapped
from kvsim.report.words import amount, count, digits, percent, plural, seconds
from kvsim.roofs import Dot, Roofline

LEAST = 0.01  # of a step: shorter Ops are one line


def render(found: Roofline) -> str:
    """Roofs, then every step."""
    lines = [f"{found.model} on {found.hw}, context {found.context:,}: Ops under the roofs of one chip", ""]
    for dtype, peak in found.peaks.items():
        lines.append(f"  {dtype + ' tensor cores':<22}{count(peak, 'FLOP/s'):>14}")
    for roof in found.roofs:
        ridge = next(iter(found.peaks.values())) / roof.bytes_per_s
        lines.append(
            f"  {roof.name:<22}{amount(roof.bytes_per_s) + '/s':>14}   reaches the peak at {digits(ridge)} FLOPs a byte"
        )
    for (policy, phase, batch), dots in groupby(found.dots, key=lambda dot: (dot.policy, dot.phase, dot.batch)):
        lines += ["", *_step(f"{policy}, {phase}, batch {batch:,}", list(dots))]
    lines += ["", "assumed"]
    for note in found.assumptions:
        lines += wrapped(note, "    ", "  - ")
    return "\n".join(line.rstrip() for line in lines)


def _step(title: str, dots: list[Dot]) -> list[str]:
    whole = [dot for dot in dots if dot.group == "step"]
    ops = [dot for dot in dots if dot.group != "step"]
    lines = [*wrapped(f"{title}: {seconds(whole[0].seconds)}, bound by {whole[0].bound}", "  ", "")]
    lines.append(
        f"  {'op':<18}{'FLOPs':>9}{'bytes':>10}{'FLOPs/B':>9}{'FLOP/s':>9}{'of roof':>9}{'of step':>9}  bound by"
    )
    short = [dot for dot in ops if dot.step_share < LEAST]
    lines += [_line(dot.op, dot, dot.bound) for dot in ops if dot.step_share >= LEAST]
    if short:
        share = percent(sum(dot.step_share for dot in short))
        lines.append(f"  {plural(len(short), 'shorter Op'):<18}{share:>55}")
    names = {"gpu": "step, by HBM", "h2d": "step, host to GPU", "d2h": "step, GPU to host", "nvlink": "step, chips"}
    lines += [_line(names.get(dot.lane, f"step, {LANES[dot.lane]}"), dot, "") for dot in whole]
    return lines


def _line(name: str, dot: Dot, bound: str) -> str:
    flops = count(dot.flops) if dot.flops else "-"
    intensity = digits(dot.intensity) if dot.intensity is not None else "-"
    attained = count(dot.flops_per_s) if dot.flops else "-"
    return (
        f"  {name:<18}{flops:>9}{amount(dot.bytes):>10}{intensity:>9}{attained:>9}"
        f"{percent(dot.roof_share):>9}{percent(dot.step_share):>9}  {bound}"
    )
