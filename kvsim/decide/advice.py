"""What to take from a comparison, in one sentence."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kvsim.report.bound import IDLE
from kvsim.report.words import amount, digits, percent, plural, seconds

if TYPE_CHECKING:
    from kvsim.decide.compare import Row


def advice(rows: "Sequence[Row]", latency: str) -> str:
    """The cheapest, the fastest and the leanest of the rows that served every request, and how far apart they are."""
    able = [row for row in rows if row.served_all and row.latency_s is not None]
    if not able:
        ran = [row for row in rows if not row.problem]
        if not ran:
            return f"None of the {plural(len(rows), 'combination')} can run."
        turned = min(ran, key=lambda row: row.rejected or 0)
        return f"None serves every request: {turned.system} turns the fewest away, {turned.rejected:,}."
    figure = latency.replace("_", " ")
    cheap = min(able, key=lambda row: (row.usd_per_mtok or 0.0, row.latency_s or 0.0))
    fast = min(able, key=lambda row: (row.latency_s or 0.0, row.usd_per_mtok or 0.0))
    lean = min(able, key=lambda row: (row.memory_bytes or 0, row.usd_per_mtok or 0.0))
    price, late = f"${digits(cheap.usd_per_mtok)} per million output tokens", f"{figure} {seconds(cheap.latency_s)}"
    if cheap is fast:
        parts = [f"{cheap.system} is the cheapest ({price}) and the fastest ({late})"]
    else:
        parts = [
            f"{cheap.system} is the cheapest ({price}, {late})",
            f"{fast.system} is the fastest ({seconds(fast.latency_s)}) at {_more(fast, cheap)}",
        ]
    if len(able) > 1 and lean not in (cheap, fast):
        parts.append(f"{lean.system} needs the least HBM ({amount(lean.memory_bytes)})")
    others = [row for row in able if row.hw != cheap.hw]
    if others:
        rival = min(others, key=lambda row: row.usd_per_mtok or 0.0)
        error = max(rival.expected_error or 0.0, cheap.expected_error or 0.0)
        if (rival.usd_per_mtok or 0.0) <= (1 + error) * (cheap.usd_per_mtok or 0.0):
            parts.append(f"{rival.hw} costs {_more(rival, cheap)}, which is within the error of +-{error:.0%}")
    if all((row.busy or 0.0) < IDLE for row in able):
        busiest = max(row.busy or 0.0 for row in able)
        parts.append(f"none is busy more than {percent(busiest)} of the time: `kvsim plan` says what each could serve")
    return "; ".join(parts) + "."


def _more(row: "Row", than: "Row") -> str:
    ratio = (row.usd_per_mtok or 0.0) / than.usd_per_mtok if than.usd_per_mtok else 1.0
    if ratio < 1.005:
        return "the same cost"
    return f"{percent(ratio - 1)} more" if ratio < 2 else f"{digits(ratio)} times the cost"
