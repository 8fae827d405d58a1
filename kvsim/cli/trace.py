"""`kvsim trace import | stats`: request traces in and out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from kvsim.traces import formats
from kvsim.traces.fields import UNITS_PER_S
from kvsim.traces.read import DITHERS, parse_columns
from kvsim.traces.trace import Trace
from kvsim.traces.write import LAYOUTS, SUFFIXES

Command = TypeVar("Command", bound=Callable[..., Any])
OUT_HELP = f"File to write; its name ends in {', '.join(SUFFIXES)}. An existing file is replaced once all is written."
_MAP_HELP = "Columns of any other file of rows: arrival=..,input=..,output=.. and perhaps session=..,gap=.."
AS_HELP = f"Layout: {', '.join(LAYOUTS)}. [default: kvsim]"
ROUND_HELP = "Round arrivals to the clock of the layout; else those between its ticks are refused."
SEED_HELP = "Seed of what is drawn. [default: the workload's, or 0]"
TOKENIZER_HELP = "Counts text: a tokenizer.json, a name that tiktoken knows, or chars:4 (a token each 4 characters)."
_BLOCK_HELP = "Tokens of a block of ids, where the file does not say it. [default: found from the lengths]"
_CONTEXT_HELP = "Drop, and count, requests with more tokens of prompt and output."


@click.group()
def trace() -> None:
    """Import, describe and generate request traces.

    \b
    kvsim trace stats azure.csv
    kvsim trace import log.csv --map arrival=t,input=in,output=out --time-unit ms --out log.jsonl.gz
    kvsim trace generate --requests 1000 --rate 3 --prompt-mean 1135 --output-mean 212 --out chat.jsonl
    """


def source_options(command: Command) -> Command:
    """The options that say how a trace file is read, the same for every command that takes one."""
    known = ", ".join(formats.names())
    options = [
        click.option("--format", "format_name", metavar="NAME", help=f"{known}. [default: by the file's first line]"),
        click.option("--map", "columns", metavar="KEY=COLUMN,...", help=_MAP_HELP),
        click.option("--time-unit", metavar="UNIT", help=f"Of --map's arrival: {', '.join(UNITS_PER_S)}. [default: s]"),
        click.option("--tokenizer", metavar="NAME_OR_FILE", help=TOKENIZER_HELP),
        click.option("--block-tokens", type=int, metavar="N", help=_BLOCK_HELP),
        click.option("--max-context", type=int, metavar="N", help=_CONTEXT_HELP),
        click.option("--dither", metavar="HOW", help=f"Spread the arrivals of each clock tick: {', '.join(DITHERS)}."),
        click.option("--seed", type=int, help=SEED_HELP),
        click.option("--limit", type=int, metavar="N", help="Take the first N requests only."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@trace.command("stats")
@click.argument("source", metavar="TRACE")
@source_options
@click.option("--cache", metavar="BLOCKS,...", help="Also the hit ratios of prefix caches of so many blocks.")
@click.option("--eviction", metavar="NAME,...", help="Of --cache; see `kvsim list prefix`. [default: all]")
@click.option("--plots", metavar="DIR", help="Write plots there: arrivals.png, lengths.png, and reuse.png with ids.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def stats_command(
    source: str, as_json: bool, cache: str | None, eviction: str | None, plots: str | None, **options: Any
) -> None:
    """Describe TRACE: a trace file, a workload YAML, or a shipped workload's name.

    Shows rates, bursts, lengths, the clock's tick, rows dropped, sessions, the hit ratio of an infinite prefix cache,
    and how far apart the uses of a block are.

    \b
    kvsim trace stats quickstart
    kvsim trace stats conversation_trace.jsonl.gz --json
    kvsim trace stats azure.csv --plots azure-plots
    kvsim trace stats conversations --cache 100,1000 --eviction lru,belady
    """
    from kvsim.cli import hit_table
    from kvsim.traces.stats import stats

    wanted = hit_table.parse(cache, eviction)
    found = opened(source, **options)
    figures = stats(found)
    if wanted:
        figures |= hit_table.figures(found, *wanted)
    if plots is not None:
        from kvsim.traces.plots import draw

        click.echo(f"{plots}: {', '.join(draw(found, Path(plots)))}", err=True)
    if as_json:
        click.echo(json.dumps(figures))
        return
    from kvsim.cli.trace_table import show

    show(figures)


@trace.command("import")
@click.argument("source", metavar="TRACE")
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@click.option("--as", "layout", default="kvsim", metavar="LAYOUT", help=AS_HELP)
@click.option("--round", "rounded", is_flag=True, help=ROUND_HELP)
@source_options
def import_command(source: str, out: str, layout: str, rounded: bool, **options: Any) -> None:
    """Write TRACE in kvsim's own format, which reads back to exactly the same requests.

    \b
    kvsim trace import BurstGPT_1.csv --out burst.jsonl.gz
    kvsim trace import log.csv --map arrival=t,input=in,output=out --time-unit ms --out log.csv.gz
    """
    written(opened(source, **options), out, layout, rounded)


def opened(source: str, format_name: str | None, columns: str | None, **options: Any) -> Trace:
    """The trace that a command's argument and `source_options` name."""
    from kvsim.traces.open import open_trace

    mapping = parse_columns(columns) if columns is not None else None
    found, _ = open_trace(source, format=format_name, columns=mapping, **options)
    return found


def written(made: Trace, out: str, layout: str = "kvsim", rounded: bool = False, without: Sequence[str] = ()) -> None:
    """Write a trace, and say on stderr what is in the file."""
    from kvsim.traces.convert import convert

    made = convert(made, out, layout, rounded=rounded, without=without)
    click.echo(f"{out}: {len(made):,} requests", err=True)
    for note in made.notes:
        click.echo(f"  {note}", err=True)
