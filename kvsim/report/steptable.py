"""One step, and one Op, as text."""

from kvsim.cost.op import GPU, PEER
from kvsim.onestep import Step
from kvsim.report.labels import LANES
from kvsim.report.table import row, wrapped
from kvsim.report.words import amount, bar, count, percent, seconds

_BAR = 24


def render(step: Step, title: str, fancy: bool = True) -> str:
    """A step's time, lanes, Ops (largest first within a lane) and cache; of scalar arguments."""
    figures = step.to_json()
    total = max(float(figures["seconds"]), 1e-300)
    lines = [*wrapped(title, "  ", ""), *wrapped(f"{seconds(total)}, bound by {step.bound}"), "", "lanes"]
    for lane, took in sorted(figures["lanes"].items(), key=lambda pair: -float(pair[1])):
        shown = f"{bar(took / total, _BAR, fancy)} {percent(took / total):>7} of the step"
        lines.append(row(LANES[lane], f"{seconds(took):>9}  {shown}"))
    if {GPU, PEER} <= set(figures["lanes"]):
        lines += wrapped("chips compute and reduce in turn: the step is the sum of these lanes")
    wide = max(8, *(len(lane) + 2 for lane in figures["lanes"]))
    lines += ["", f"{'op':<22}{'lane':<{wide}}{'calls':>7}{'time':>11}{'share':>9}{'FLOPs':>10}{'bytes':>10}  bound"]
    ops = sorted(
        zip(step.ops, figures["ops"], strict=True),
        key=lambda pair: (-figures["lanes"][pair[1]["lane"]], -pair[1]["seconds"]),
    )
    for op, found in ops:
        flops = count(found["flops"]) if found["flops"] else "-"
        share = percent(found["seconds"] / total)
        lines.append(
            f"{found['name']:<22}{found['lane']:<{wide}}{op.count * op.launches:>7,.0f}{seconds(found['seconds']):>11}"
            f"{share:>9}{flops:>10}{amount(found['bytes']):>10}  {found['bound']}"
        )
    lines += _engine(step)
    cache = ", ".join(f"{amount(held)} in {tier}" for tier, held in figures["kv_bytes"].items())
    lines += ["", f"cache of the batch, one chip: {cache}", "", "assumed"]
    for note in figures["assumptions"]:
        lines += wrapped(note, "    ", "  - ")
    return "\n".join(line.rstrip() for line in lines)


def _engine(step: Step) -> list[str]:
    """What the step takes in an engine, term by term."""
    if step.engine_terms is None or step.engine_seconds is None:
        return []
    lines = ["", f"in {step.serving}: {seconds(step.engine_seconds)} until the next step"]
    for name, took in step.engine_terms.items():
        if took:
            lines.append(row(name, f"{'-' if took < 0 else ''}{seconds(abs(took))}".rjust(9)))
    return lines
