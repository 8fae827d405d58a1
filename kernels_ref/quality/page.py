"""`python -m kernels_ref.quality.page`: writes docs/quality.md's tables and docs/img/quality.png from the results."""

import re
from collections.abc import Callable, Iterator, Sequence
from math import log10
from pathlib import Path
from statistics import mean

from kernels_ref.quality import table
from kernels_ref.quality.needles import NAME as NEEDLES
from kernels_ref.quality.row import Row

ROOT = Path(__file__).parents[2]
RESULTS, PAGE, PICTURE = (
    ROOT / "kernels_ref/results/quality.csv",
    ROOT / "docs/quality.md",
    ROOT / "docs/img/quality.png",
)
MIDDLE = 0.25
_NAMES_AT = 0.06  # on the axis of shares
Rows = Sequence[Row]


def of(rows: Rows, policy: str, budget: float | None) -> list[Row]:
    """A policy's rows at a budget."""
    return [row for row in rows if row.policy == policy and row.budget == budget]


def error(rows: Rows) -> float | None:
    """Mean over the texts that there are."""
    found = [row.error for row in rows if row.error is not None]
    return mean(found) if found else None


def ranked(rows: Rows, budget: float | None) -> list[str]:
    """Policies at a budget, the worst first."""
    errors = {policy: error(of(rows, policy, budget)) for policy in dict.fromkeys(row.policy for row in rows)}
    known = {policy: found for policy, found in errors.items() if found is not None}
    return sorted(known, key=lambda policy: (-known[policy], policy))


def main_table(rows: Rows) -> Iterator[str]:
    """Policies that can be had at the middle budget, by their error there."""
    yield "| policy | bytes | 50 % | 25 % | 10 % | of texts | kept mass | KL | perplexity | asked | asked after |"
    yield "|---|---|--:|--:|--:|---|--:|--:|--:|--:|--:|"
    for policy in ranked(rows, MIDDLE):
        here = of(rows, policy, MIDDLE)
        errors = [_figure(error(of(rows, policy, budget)), _three) for budget in (0.5, MIDDLE, 0.1)]
        yield f"| {policy} | {here[0].basis} | {' | '.join(errors)} | {' | '.join(_rest(here))} |"


def other_table(rows: Rows) -> Iterator[str]:
    """What cannot be had there: at the smallest of the budgets that it reaches, or as published."""
    yield "| setting | stored | error | of texts | kept mass | KL | perplexity | asked | asked after |"
    yield "|---|--:|--:|---|--:|--:|--:|--:|--:|"
    middle = set(ranked(rows, MIDDLE))
    for budget in (0.1, 0.5, None):
        for policy in ranked(rows, budget):
            if policy in middle:
                continue
            here = of(rows, policy, budget)
            middle.add(policy)
            stored = f"{mean(row.stored_share for row in here):.0%}"
            yield f"| {here[0].setting} | {stored} | {_figure(error(here), _three)} | {' | '.join(_rest(here))} |"


def _rest(rows: Rows) -> list[str]:
    texts, needles = [row for row in rows if row.text != NEEDLES], [row for row in rows if row.text == NEEDLES]
    errors = [row.error for row in texts if row.error is not None]
    spread = f"{_three(min(errors))} to {_three(max(errors))} ({len(errors)})"
    figures = [
        _over(texts, "kept_mass", _percent),
        _over(texts, "kl", _three),
        _over(texts, "perplexity_change", _times),
    ]
    return [spread, *figures, _over(needles, "first_right", _percent), _over(needles, "second_right", _percent)]


def _over(rows: Rows, name: str, words: Callable[[float], str]) -> str:
    found = [value for row in rows if (value := getattr(row, name)) is not None]
    return words(mean(found)) if found else ""


def _figure(value: float | None, words: Callable[[float], str]) -> str:
    return "" if value is None else words(value)


def _three(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _times(change: float) -> str:
    return f"{1 + change:.2f}x" if change < 9 else f"{1 + change:,.0f}x"


def written(page: str, rows: Rows) -> str:
    """The page with today's tables between its marks."""
    for name, lines in (("main", main_table(rows)), ("other", other_table(rows))):
        body = "".join(f"{line}\n" for line in lines)
        page = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda found, b=body: found[1] + b + found[2], page, flags=re.S
        )
    return page


def draw(rows: Rows, path: Path) -> None:
    """Error over bytes, a line a policy, one panel for what is stored and one for what is read."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(15, 10), sharey=True)
    for axis, basis in zip(axes, ("stored", "read"), strict=True):
        lines = {
            policy: points(rows, policy, basis)
            for policy in ranked(rows, MIDDLE)[::-1]
            if of(rows, policy, MIDDLE)[0].basis == basis
        }
        colours = [plt.get_cmap("turbo")(i / max(1, len(lines) - 1)) for i in range(len(lines))]
        heights = apart([log10(line[-1][1]) for line in lines.values()], 0.032)
        for (policy, line), colour, height in zip(lines.items(), colours, heights, strict=True):
            shares, errors = zip(*line, strict=True)
            axis.plot(shares, errors, "o-", markersize=3, linewidth=1.1, color=colour)
            axis.plot((_NAMES_AT, line[-1][0]), (10**height, line[-1][1]), ":", linewidth=0.6, color=colour)
            axis.text(_NAMES_AT, 10**height, f"{policy} ", fontsize=6.5, ha="right", va="center")
        axis.set(xscale="log", yscale="log", xlabel=f"share of the full cache's bytes that is {basis}")
        axis.minorticks_off()
        axis.set_xticks([0.1, 0.25, 0.5], ["10 %", "25 %", "50 %"])
        axis.set_yticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
        axis.set_xlim(0.028, 0.6)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("relative error of attention's outputs")
    figure.suptitle("SmolLM2-135M, 1,536 tokens compressed: mean over texts, layers and heads")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def points(rows: Rows, policy: str, basis: str) -> list[tuple[float, float]]:
    """(share, error) of a policy, from the largest budget to the smallest."""
    found = []
    for budget in (0.5, MIDDLE, 0.1):
        here = [row for row in of(rows, policy, budget) if row.error is not None]
        if here:
            shares = [row.stored_share if basis == "stored" else row.share for row in here]
            found.append((mean(shares), mean(row.error or 0.0 for row in here)))
    return found


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Places moved as little as makes neighbours `gap` apart: runs that are too close spread around their mean."""
    runs: list[tuple[float, list[int]]] = []
    for index in sorted(range(len(places)), key=lambda i: places[i]):
        runs.append((places[index], [index]))
        while len(runs) > 1 and runs[-1][0] - runs[-2][0] < gap * (len(runs[-1][1]) + len(runs[-2][1])) / 2:
            (_, upper), (_, lower) = runs.pop(), runs.pop()
            both = [*lower, *upper]
            runs.append((mean(places[i] for i in both), both))
    found = dict[int, float]()
    for middle, members in runs:
        found |= {index: middle + gap * (at - (len(members) - 1) / 2) for at, index in enumerate(members)}
    return [found[index] for index in range(len(places))]


def main() -> None:
    """Both, from the committed results."""
    rows = table.read(RESULTS)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    draw(rows, PICTURE)


if __name__ == "__main__":
    main()
