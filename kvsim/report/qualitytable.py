"""What was measured of policies' quality, as text: one line a policy, means over texts; then what it means."""

from collections.abc import Callable, Iterator
from typing import Any

from kvsim.report.comparetable import aligned
from kvsim.report.table import wrapped
from kvsim.report.words import digits, percent

Style = Callable[[str], str]
_MEANINGS = (
    (
        "error",
        "|o - o_full| / |o_full| of attention's outputs, mean over layers and heads (least to most of the texts)",
    ),
    ("kept mass", "what the full cache's attention gives to tokens that the policy reads"),
    ("KL", "of the next token, full against policy in the loop, nats"),
    ("perplexity", "of the text that follows, over the full cache's"),
    ("needles", "facts answered: the question that the policy saw, then a second one that it did not; log p of them"),
)


def render(found: Any, budget: float | None, heading: Style = str) -> str:
    """The table of `kvsim.quality`'s answer."""
    texts = list(dict.fromkeys(row.text for row in found.rows))
    size = "as published" if budget is None else f"at {percent(budget)} of the full cache's bytes"
    title = f"{found.model}, policies {size}: {found.prompt:,} tokens of {_and(texts)}, then {found.new}"
    lines = [*wrapped(title, "  ", ""), ""]
    groups = list(_by_policy(found.rows))
    lines += aligned([_head(groups), *(_line(rows) for rows in groups)], 1, heading)
    shown = [(name, text) for name, text in _MEANINGS if any(name in cell for cell in _head(groups))]
    lines += ["", *(line for name, text in shown for line in wrapped(text, " " * 14, f"  {name:<12}"))]
    lines += list(_notes(groups, budget, heading))
    return "\n".join(line.rstrip() for line in lines)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _by_policy(rows: tuple[Any, ...]) -> Iterator[list[Any]]:
    for policy in dict.fromkeys(row.policy for row in rows):
        yield [row for row in rows if row.policy == policy]


def _of(rows: list[Any], name: str) -> list[float]:
    return [value for row in rows if (value := getattr(row, name)) is not None]


def _head(groups: list[list[Any]]) -> list[str]:
    head = ["", "policy", "stored", "read"]
    if any(_of(rows, "error") for rows in groups):
        head += ["error", "", "kept mass", "KL", "perplexity"]
    if any(_of(rows, "first_right") for rows in groups):
        head += ["needles", "log p", "second", "log p"]
    return head


def _line(rows: list[Any]) -> list[str]:
    first = rows[0]
    read = percent(first.share) if first.basis == "read" else "all"
    line = ["" if first.reached else "!", first.setting, percent(_mean(_of(rows, "stored_share"))), read]
    if errors := _of(rows, "error"):
        spread = f"{digits(min(errors))} to {digits(max(errors))}" if len(errors) > 1 else ""
        change = _mean(_of(rows, "perplexity_change"))
        line += [digits(_mean(errors)), spread, percent(_mean(_of(rows, "kept_mass"))), digits(_mean(_of(rows, "kl")))]
        line.append(f"{digits(1 + change)}x")
    if _of(rows, "first_right"):
        for name in ("first", "second"):
            line += [percent(_mean(_of(rows, f"{name}_right"))), f"{_mean(_of(rows, f'{name}_log_p')):.2f}"]
    return line


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _notes(groups: list[list[Any]], budget: float | None, heading: Style) -> Iterator[str]:
    over = [rows[0] for rows in groups if not rows[0].reached]
    if over and budget is not None:
        each = ", ".join(f"{row.setting} {row.basis} {percent(row.share)}" for row in over)
        yield from ("", *wrapped(f"! takes more than {percent(budget)} at its smallest: {each}"))
    if any(rows[0].basis == "read" for rows in groups):
        yield from ("", *wrapped("read: these policies keep everything; the budget is what a decode step reads of it"))
    notes = [(rows[0].policy, note) for rows in groups for note in dict.fromkeys(n for row in rows for n in row.notes)]
    if notes:
        yield from ("", heading("stand-ins"))
        for policy, note in notes:
            yield from wrapped(f"{policy}: {note}", "    ", "  ")
