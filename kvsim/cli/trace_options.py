"""How a command reads its TRACE: one list of options, the same for every command that takes one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

SEED_HELP = "Seed of what is drawn. [default: the workload's, or 0]"
TOKENIZER_HELP = "Counts text: a tokenizer.json, a name that tiktoken knows, or chars:4 (a token each 4 characters)."
# as `kvsim.traces.formats.names()`, which imports numpy: a command's help does not
FORMATS = tuple(sorted(path.stem for path in (Path(__file__).parents[1] / "traces" / "formats").glob("[!_]*.py")))

_OPTIONS = (
    click.option(
        "--format", "trace_format", metavar="NAME", help=f"{', '.join(FORMATS)}. [default: by the file's first line]"
    ),
    click.option(
        "--map",
        "columns",
        metavar="KEY=COLUMN,...",
        help="Columns of any other file of rows: arrival=..,input=..,output=.. and perhaps session=..,gap=.., or "
        "first=..,done=..",
    ),
    click.option("--time-unit", metavar="UNIT", help="Of --map's arrival: s, ms, us or ns. [default: s]"),
    click.option("--tokenizer", metavar="NAME_OR_FILE", help=TOKENIZER_HELP),
    click.option(
        "--block-tokens",
        type=int,
        metavar="N",
        help="Tokens of a block of ids, where the file does not say it. [default: found from the lengths]",
    ),
    click.option(
        "--max-context",
        type=int,
        metavar="N",
        help="Drop, and count, requests with more than N tokens of prompt and output.",
    ),
    click.option("--dither", metavar="HOW", help="Spread the arrivals of each clock tick: uniform."),
    click.option("--seed", type=int, metavar="N", help=SEED_HELP),
    click.option("--limit", type=int, metavar="N", help="Take the first N requests only."),
)


def trace_options(command: Command) -> Command:
    """Decorates a command with the options that say how a trace is read."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def reading(options: dict[str, Any]) -> dict[str, Any]:
    """`options` with --map's text as a mapping: the arguments that `kvsim.run` and its like take.

    Raises:
        UserError: --map is not KEY=COLUMN,..., or lacks a key.
    """
    from kvsim.traces.read import parse_columns

    columns = options["columns"]
    return options | {"columns": parse_columns(columns) if columns is not None else None}
