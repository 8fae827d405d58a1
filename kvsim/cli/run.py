"""`kvsim run`: replay a trace, print the report, write it if asked."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvsim.cli.trace_options import reading, trace_options
from kvsim.errors import UserError

if TYPE_CHECKING:
    from kvsim.replay import Report

PATH = click.Path(path_type=Path)


@click.command("run")
@click.argument("trace")
@click.option("--hw", metavar="NAME", help="Machine, see `kvsim list hw`. [default: the workload's, or h100]")
@click.option("--model", metavar="NAME", help="See `kvsim list models`. [default: the workload's, or llama-3-8b]")
@click.option("--policy", metavar="NAME", help="What happens to the cache, such as snapkv+kivi:bits=4. [default: full]")
@click.option("--serving", metavar="NAME", help="Engine preset, see `kvsim list serving`. [default: vllm]")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a field of the preset; repeatable.")
@click.option("--replicas", type=int, metavar="N", help="Copies of the machine behind a router. [default: 1]")
@click.option("--tp", type=int, metavar="N", help="Chips that share a model. [default: all of the machine]")
@click.option("--fidelity", default="ideal", help="ideal: as a good kernel allows; published: as released.")
@click.option(
    "--executor", default="model", metavar="WHICH", help="What times a step: model, or torch: runs it on a GPU."
)
@click.option("--until", metavar="TIME", help="Stop the clock there: seconds, or `10 min`.")
@click.option("--warmup", metavar="TIME", help="Leave requests that arrive before it out of the statistics.")
@click.option("--check", is_flag=True, help="Verify the engine's invariants after every span of steps.")
@click.option("--exact", is_flag=True, help="Step token by token; slower, the same result.")
@trace_options
@click.option("--loop", metavar="HOW", help="Sessions: closed, or open. [default: closed if think times are known]")
@click.option("--concurrency", type=int, metavar="N", help="Closed loop: this many sessions at a time.")
@click.option("--max-gap", metavar="TIME", help="Closed loop: cut longer think and tool times to this.")
@click.option("--sessions-per-s", type=float, metavar="R", help="Sessions begin as a Poisson process of this rate.")
@click.option("--reuse", default="outputs", metavar="WHAT", help="The next turn hits cached outputs, or only prompts.")
@click.option(
    "--out", type=PATH, metavar="DIR", help="Write report.html, report.json, requests.parquet and plots there."
)
@click.option("--timeline", type=PATH, metavar="FILE", help="Write a Chrome trace for ui.perfetto.dev; .gz too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def run_command(
    trace: str, as_json: bool, out: Path | None, timeline: Path | None, executor: str, **options: Any
) -> None:
    """Replay TRACE on a machine under a cache policy, and report on it.

    TRACE is a trace file, a workload YAML, or the name of a shipped workload.

    \b
    kvsim run quickstart --hw h100 --policy headinfer
    kvsim run azure.csv --hw a100-80x4 --tp 2 --model llama-3-70b --set max_num_seqs=64 --json
    kvsim run quickstart --executor torch --set kv_blocks=9000 --limit 50
    kvsim run log.csv --map arrival=t,input=in,output=out --policy snapkv+kivi:bits=4 --out report
    kvsim run spans.json --tokenizer chars:4 --max-context 8192
    """
    from kvsim.find import executor as named_executor

    report = _run(trace, out, timeline, options | {"executor": named_executor(executor)})
    if int(os.environ.get("RANK", "0")):
        return  # torchrun: the first process of a tensor-parallel run speaks for all
    if as_json:
        click.echo(json.dumps(report.figures, allow_nan=False))
        return
    from kvsim.report.table import render

    click.echo(render(report, lambda name: click.style(name, bold=True), fancy=can_draw()))


def _run(trace: str, out: Path | None, timeline: Path | None, options: dict[str, Any]) -> "Report":
    from kvsim.cli.progress import progress
    from kvsim.replay import run

    arguments = _arguments(options)
    if out:
        from kvsim.report.files import check_folder

        check_folder(out)
    if timeline and out and timeline.parent.resolve() == out.resolve():
        raise UserError(f"--timeline {timeline}: --out {out} holds nothing but the report; write it beside the folder")
    if timeline:
        from kvsim.report.files import check_file

        check_file(timeline)
    observers: list[Any] = []
    if out:
        from kvsim.report.record import Record

        observers.append(record := Record())
    if timeline:
        from kvsim.report.timeline import Timeline

        observers.append(spans := Timeline())
    with progress() as counter:
        report = run(trace, observers=tuple(observers), progress=counter, **arguments)
    if out:
        from kvsim.report.folder import write_report

        write_report(report, record, out, trace, shlex.join(["kvsim", *sys.argv[1:]]))
        click.echo(f"{out}: report.html, report.json, requests.parquet and plots", err=True)
    if timeline:
        spans.write(timeline)
        click.echo(f"{timeline}: open it at ui.perfetto.dev{f' ({spans.note})' if spans.note else ''}", err=True)
    return report


def _arguments(options: dict[str, Any]) -> dict[str, Any]:
    """`kvsim.run`'s arguments from the command line's."""
    from kvsim.cli.options import duration_s, pairs

    until, warmup, gap = (options.pop(key) for key in ("until", "warmup", "max_gap"))
    return reading(options) | {
        "settings": pairs(options["settings"], "--set"),
        "max_gap_s": duration_s(gap, "--max-gap"),
        "until_s": duration_s(until, "--until"),
        "warmup_s": duration_s(warmup, "--warmup") or 0.0,
    }


def can_draw() -> bool:
    """Whether stdout's encoding has block characters."""
    try:
        "█▏".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
