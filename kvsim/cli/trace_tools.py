"""`kvsim trace sample | scale | merge | convert | fit`: what is made from traces."""

import json
from pathlib import Path
from typing import Any

import click

from kvsim.cli import trace_generate  # noqa: F401  # adds its command to the group
from kvsim.cli.trace import OUT_HELP, ROUND_HELP, opened, trace, written
from kvsim.cli.trace_options import trace_options
from kvsim.traces.write import LAYOUTS

__all__ = ["trace"]  # the group, with all its commands


@trace.command("sample")
@click.argument("source", metavar="TRACE")
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@click.option("--share", type=float, metavar="S", help="Take this share of the sessions, prefix families or requests.")
@click.option("--number", type=int, metavar="N", help="Take so many of them.")
@trace_options
def sample_command(source: str, out: str, share: float | None, number: int | None, **options: Any) -> None:
    """Write a part of TRACE that shares prefixes as the whole does.

    Takes whole sessions; without sessions whole prefix families (requests with the same first block beyond those that
    over a tenth of all requests have); single requests only where nothing is shared. Times stay as they are, so the
    rate falls with the share: `kvsim trace scale --rate` raises it again.

    \b
    kvsim trace sample conversation_trace.jsonl.gz --share 0.1 --out tenth.jsonl.gz
    kvsim trace sample chats.jsonl --number 50 --seed 3 --out fifty.jsonl
    """
    from kvsim.traces.sample import sample

    whole = opened(source, **options)
    written(sample(whole, share=share, number=number, seed=options["seed"] or 0), out)


@trace.command("scale")
@click.argument("source", metavar="TRACE")
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@click.option("--rate", type=float, default=1.0, metavar="X", help="Requests, or sessions, begin X times as often.")
@click.option("--gaps", type=float, default=1.0, metavar="X", help="Pauses inside sessions are X times as long.")
@click.option("--prompt", type=float, default=1.0, metavar="X", help="Prompts are X times as long, as are blocks.")
@click.option("--output", type=float, default=1.0, metavar="X", help="Outputs are X times as long.")
@trace_options
def scale_command(
    source: str, out: str, rate: float, gaps: float, prompt: float, output: float, **options: Any
) -> None:
    """Write TRACE with another rate or other lengths.

    With block ids, each block gets X times its tokens: all requests share what they shared. X times the block must be a
    whole number of tokens. `--rate` leaves the pauses of sessions alone: users do not think faster.

    \b
    kvsim trace scale azure.csv --rate 2 --out busier.csv
    kvsim trace scale conversation_trace.jsonl.gz --prompt 0.5 --output 0.5 --out shorter.jsonl.gz
    """
    from kvsim.traces.scale import scale

    written(scale(opened(source, **options), rate=rate, gaps=gaps, prompt=prompt, output=output), out)


@trace.command("merge")
@click.argument("sources", metavar="TRACE TRACE...", nargs=-1, required=True)
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@trace_options
def merge_command(sources: tuple[str, ...], out: str, **options: Any) -> None:
    """Write several traces as one, by arrival; all begin at the same moment, and share nothing with each other.

    \b
    kvsim trace merge chat.jsonl code.csv --out both.jsonl.gz
    """
    from kvsim.traces.merge import merge

    written(merge([opened(source, **options) for source in sources], Path(out).name), out)


@trace.command("convert")
@click.argument("source", metavar="TRACE")
@click.option("--to", "layout", required=True, metavar="FORMAT", help=f"{', '.join(LAYOUTS)}.")
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@click.option("--round", "rounded", is_flag=True, help=ROUND_HELP)
@click.option("--without", multiple=True, metavar="PART", help="Leave out blocks, sessions or measured; repeatable.")
@trace_options
def convert_command(
    source: str, layout: str, out: str, rounded: bool, without: tuple[str, ...], **options: Any
) -> None:
    """Write TRACE in the format of another tool.

    The file is read back before it is put in place: it holds the same requests, or is refused with what it cannot hold.

    \b
    kvsim trace convert conversations --to kvsim --out chats.jsonl
    kvsim trace convert azure.csv --to vidur --out vidur.csv
    kvsim trace convert conversation_trace.jsonl.gz --to burstgpt --without blocks --out burst.csv
    """
    written(opened(source, **options), out, layout, rounded, without)


@trace.command("fit")
@click.argument("source", metavar="TRACE")
@click.option("--out", required=True, metavar="FILE.yaml", help="Workload YAML to write; an existing one is replaced.")
@click.option("--period", default="86400", metavar="TIME", help="After which the rate repeats. [default: 24 h]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
@trace_options
def fit_command(source: str, out: str, period: str, as_json: bool, **options: Any) -> None:
    """Write a workload YAML with a generator fitted to TRACE, and say how well it fits.

    The first half of the requests is fitted: arrivals (Poisson, gamma, Weibull or Markov-modulated, by Akaike's
    criterion; with a rate curve if the half lasts a period), lengths (lognormal or quantiles), and prefix groups if
    there are block ids. The distances are those to the second half.

    \b
    kvsim trace fit azure.csv --out azure-like.yaml
    kvsim run azure-like.yaml --hw h100
    """
    from kvsim.cli.fit_table import show, write_workload
    from kvsim.cli.options import duration_s
    from kvsim.traces.fit import fit

    seed = options["seed"] or 0
    found = fit(opened(source, **options), period_s=duration_s(period, "--period") or 0.0, seed=seed)
    write_workload(found, Path(out), seed)
    click.echo(f"{out}: run it with `kvsim run {out}`", err=True)
    if as_json:
        click.echo(json.dumps(found.figures))
        return
    show(found.figures)
