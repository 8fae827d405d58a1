"""`kvsim compare`: one trace on several machines under several policies."""

import json
from pathlib import Path
from typing import Any

import click

from kvsim.cli.study_options import arguments, study_options, typed


@click.command("compare")
@click.argument("trace")
@study_options
@click.option("--replicas", type=int, metavar="N", help="Copies of each machine behind a router. [default: 1]")
@click.option("--concurrency", type=int, metavar="N", help="Closed loop: this many sessions at a time.")
@click.option("--sessions-per-s", type=float, metavar="R", help="Sessions begin as a Poisson process of this rate.")
@click.option("--latency", default="e2e_p99", metavar="FIGURE", help="Of the Pareto front. [default: e2e_p99]")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR|FILE.png", help="Write report.html, table and plot there."
)
def compare_command(trace: str, as_json: bool, out: Path | None, **options: Any) -> None:
    """Replay TRACE on several machines under several policies, and say which to take.

    TRACE is a trace file, a workload YAML, or the name of a shipped workload. Every combination of names is one run;
    one that cannot run is a row that says why. A policy's own list may hold commas (`part:k=1,2`): what follows a comma
    belongs to it unless it is the name of a policy; `;` instead of commas leaves no doubt.

    \b
    kvsim compare quickstart --hw h100,l40s --policy full,kivi,headinfer
    kvsim compare azure.csv --hw a100-80,a100-80x2 --policy full,snapkv+kivi:bits=4 --latency ttft_p99 --out compared
    """
    from kvsim.cli.progress import progress
    from kvsim.decide.compare import compare

    if out:
        from kvsim.report.comparefolder import check

        check(out)
    with progress("runs") as counter:
        found = compare(trace, progress=counter, **arguments(options))
    if out:
        from kvsim.report.comparefolder import write

        click.echo(write(found, out, trace, typed()), err=True)
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False))
        return
    from kvsim.report.comparetable import render

    click.echo(render(found, lambda name: click.style(name, bold=True)))
