"""The four costs of a long context as text: at peak and as expected, then each policy against the first."""

import math

from kvsim.onesession import COSTS, Costs, Row, Session
from kvsim.report.table import wrapped
from kvsim.report.words import amount, digits, seconds

_HEADS = ("sessions", "prefill", "decode", "switch")


def render(session: Session, model: str, where: str) -> str:
    """Two tables: the costs, and, where there are several policies, their ratios to the first one's."""
    rows = session.rows
    wide = max(len("policy"), *(len(row.policy) for row in rows))
    answer = f"an answer of {session.answer_tokens:,} tokens"
    lines = [f"a session of {model} on {where}: a prompt, then {answer}", ""]
    lines.append(" " * (wide + 19) + "".join(f"{head:>17}" for head in _HEADS))
    lines.append(f"{'policy':<{wide}}{'context':>10}{'cache':>9}" + f"{'peak':>8}{'expected':>9}" * len(COSTS))
    for row in rows:
        held = amount(sum(row.cache_bytes.values()))
        pairs = "".join(f"{_shown(row.peak, cost):>8}{_shown(row.expected, cost):>9}" for cost in COSTS)
        lines.append(f"{row.policy:<{wide}}{row.context:>10,}{held:>9}{pairs}")
    if others := [row for row in rows if row.policy != rows[0].policy]:
        lines += ["", f"against {rows[0].policy}, expected"]
        for row in others:
            base = next(other for other in rows if other.context == row.context)
            ratios = "".join(f"{_ratio(row, base, cost):>17}" for cost in COSTS)
            lines.append(f"{row.policy:<{wide}}{row.context:>10,}{'':>9}{ratios}")
    lines += ["", "assumed"]
    for note in session.assumptions:
        lines += wrapped(note, "    ", "  - ")
    return "\n".join(line.rstrip() for line in lines)


def _shown(costs: Costs, cost: str) -> str:
    value = float(getattr(costs, cost))
    return f"{math.floor(value):,}" if cost == "sessions" else seconds(value)


def _ratio(row: Row, base: Row, cost: str) -> str:
    """How much more or less than `base`; sessions count in parts, so that 0.5 to 2 is 4 x."""
    above, below = float(getattr(row.expected, cost)), float(getattr(base.expected, cost))
    return f"{digits(above / below)} x" if below else "-"
