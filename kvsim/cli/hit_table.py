"""`kvsim trace stats --cache`: hit ratio against capacity, for each order of eviction."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kvsim.errors import UserError
from kvsim.traces.trace import Trace

if TYPE_CHECKING:
    from rich.table import Table

MOST_BLOCKS = 2**40


def parse(cache: str | None, eviction: str | None) -> tuple[list[int], list[str] | None] | None:
    """(capacities in blocks, names or None for all) of the two options; None without `--cache`.

    Raises:
        UserError: a capacity that is no whole number of blocks, or is named twice; `--eviction` without `--cache`.
    """
    if cache is None:
        if eviction is not None:
            raise UserError("--eviction: is of --cache; give that too, such as --cache 1000,10000")
        return None
    capacities = []
    for text in cache.split(","):
        word = text.strip()
        if not (word.isascii() and word.isdigit() and 1 <= int(word) <= MOST_BLOCKS):
            raise UserError(f"--cache: capacities are whole numbers of blocks, such as 1000,10000, but got {word!r}")
        capacities.append(int(word))
    names = None if eviction is None else [name.strip() for name in eviction.split(",")]
    _once("--cache", capacities)
    _once("--eviction", names or [])
    return capacities, names


def _once(option: str, values: Sequence[object]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise UserError(f"{option}: {value} is given twice")


def figures(trace: Trace, capacities: list[int], names: list[str] | None) -> dict[str, Any]:
    """The key `cache` of `kvsim trace stats --json`: token hit ratios, one a capacity."""
    from kvsim.cli.progress import progress
    from kvsim.traces.hitcurve import hit_curve

    with progress("requests") as count:
        curve = hit_curve(trace, capacities, names, count)
    assert trace.blocks is not None
    return {
        "cache": {
            "block_tokens": trace.blocks.tokens,
            "capacity_blocks": curve.capacity_blocks,
            "hit_ratio_tokens": curve.token_ratios,
            "infinite_hit_ratio_tokens": curve.infinite,
            "left_out": curve.left_out,
        }
    }


def table(found: dict[str, Any]) -> "Table":
    """The same for a person: a row an order of eviction, the bound last but for the infinite cache."""
    from rich.table import Table

    curve = found["cache"]
    rows = Table(box=None, pad_edge=False, header_style="dim")
    rows.add_column(f"token hits, cache of blocks of {curve['block_tokens']}", no_wrap=True)
    for capacity in curve["capacity_blocks"]:
        rows.add_column(f"{capacity:,}", justify="right", no_wrap=True)
    ratios = curve["hit_ratio_tokens"]
    for name in sorted(ratios, key=lambda name: name == "belady"):
        rows.add_row(name, *(f"{ratio:.1%}" for ratio in ratios[name]))
    rows.add_row("infinite cache", *(f"{curve['infinite_hit_ratio_tokens']:.1%}" for _ in curve["capacity_blocks"]))
    return rows
