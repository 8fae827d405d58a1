"""`kvsim trace import | stats`: request traces in and out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from kvsim.cli.trace_options import reading, trace_options
from kvsim.traces.trace import Trace
from kvsim.traces.write import LAYOUTS, SUFFIXES

OUT_HELP = f"File to write; its name ends in {', '.join(SUFFIXES)}. An existing file is replaced once all is written."
AS_HELP = f"Layout: {', '.join(LAYOUTS)}. [default: kvsim]"
ROUND_HELP = "Round arrivals to the clock of the layout; else those between its ticks are refused."


@click.group()
def trace() -> None:
    """Import, describe and generate request traces.

    \b
    kvsim trace stats azure.csv
    kvsim trace import log.csv --map arrival=t,input=in,output=out --time-unit ms --out log.jsonl.gz
    kvsim trace generate --requests 1000 --rate 3 --prompt-mean 1135 --output-mean 212 --out chat.jsonl
    """


@trace.command("stats")
@click.argument("source", metavar="TRACE")
@trace_options
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
@trace_options
def import_command(source: str, out: str, layout: str, rounded: bool, **options: Any) -> None:
    """Write TRACE in kvsim's own format, which reads back to exactly the same requests.

    \b
    kvsim trace import BurstGPT_1.csv --out burst.jsonl.gz
    kvsim trace import log.csv --map arrival=t,input=in,output=out --time-unit ms --out log.csv.gz
    """
    written(opened(source, **options), out, layout, rounded)


def opened(source: str, **options: Any) -> Trace:
    """The trace that a command's argument and `trace_options` name."""
    from kvsim.traces.open import open_trace

    found, _ = open_trace(source, format=options.pop("trace_format"), **reading(options))
    return found


def written(made: Trace, out: str, layout: str = "kvsim", rounded: bool = False, without: Sequence[str] = ()) -> None:
    """Write a trace, and say on stderr what is in the file."""
    from kvsim.traces.convert import convert

    made = convert(made, out, layout, rounded=rounded, without=without)
    click.echo(f"{out}: {len(made):,} requests", err=True)
    for note in made.notes:
        click.echo(f"  {note}", err=True)
