"""`kvsim sweep`: a study's points in parallel, kept in a store that survives kill -9."""

import json
import sys
import time
from pathlib import Path

import click

from kvsim.cli.ending import MISTAKE

DEFECT = 1
_EVERY_S = 30.0  # between lines of progress that go to a file


@click.command("sweep")
@click.argument("study", metavar="STUDY.yaml")
@click.option("--engine", default="local", show_default=True, metavar="NAME", help="local processes, or ray.")
@click.option("--workers", type=int, metavar="N", help="Points that run at once. [default: one a CPU]")
@click.option("--resume", is_flag=True, help="Go on with a study that was interrupted; nothing finished runs again.")
@click.option("--out", metavar="DIR", help="Folder of the store and the results. [default: the study's name]")
@click.option("--ray-address", metavar="HOST:PORT", help="A running Ray cluster. [default: a local one]")
@click.option("--json", "as_json", is_flag=True, help="Print what results.json holds instead of a table.")
@click.pass_context
def sweep_command(
    ctx: click.Context,
    study: str,
    engine: str,
    workers: int | None,
    resume: bool,
    out: str | None,
    ray_address: str | None,
    as_json: bool,
) -> None:
    """Run every point of a study, and go on where it was interrupted.

    A study names options that all its points share, and lists of values for those that differ. Each finished point is
    on disk at once. DIR then holds results.csv, results.parquet and results.json, the same bytes however often the
    sweep was killed. Points that fail are listed there with the reason; the others go on, and the exit code is 2.

    \b
    kvsim sweep study.yaml --workers 8
    kvsim sweep study.yaml --resume
    """
    from kvsim.report.sweeptable import render
    from kvsim.study.sweeping import sweep

    lines = _Lines(sys.stderr.isatty())
    try:
        found = sweep(
            Path(study),
            out=out,
            engine=engine,
            workers=workers,
            resume=resume,
            ray_address=ray_address,
            progress=lines,
        )
    except KeyboardInterrupt:
        lines.clear()
        click.echo("what is finished is kept: --resume goes on from there", err=True)
        raise
    lines.clear()
    click.echo(f"{found.folder}: results.csv, results.parquet and results.json", err=True)
    click.echo(json.dumps(found.to_json(), allow_nan=False) if as_json else render(found))
    if found.failed:
        first, many = found.failed[0], len(found.failed)
        total = len(found.results["points"])
        click.echo(f"kvsim: {many:,} of {total:,} points failed; point {first['point']}: {first['error']}", err=True)
        ctx.exit(DEFECT if any(point["status"] == "defect" for point in found.failed) else MISTAKE)


class _Lines:
    """Progress on stderr: a line that is written over on a terminal, else one every `_EVERY_S` seconds."""

    def __init__(self, terminal: bool) -> None:
        self._terminal, self._begun = terminal, time.monotonic()
        self._said = self._begun

    def __call__(self, finished: int, failed: int, points: int, before: int) -> None:
        """`finished` of `points` points are, `failed` of them failed, `before` of them were finished at the start."""
        now = time.monotonic()
        if not self._terminal and now - self._said < _EVERY_S:
            return
        self._said = now
        line = f"{finished:,} of {points:,} points{f', {failed:,} failed' if failed else ''}"
        ran = finished - before
        if ran and finished < points:
            line += (
                f", {_span(now - self._begun)} so far, {_span((now - self._begun) / ran * (points - finished))} left"
            )
        click.echo(f"\r\x1b[K{line}" if self._terminal else line, nl=not self._terminal, err=True)

    def clear(self) -> None:
        """Leave the terminal's line to others."""
        if self._terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def _span(seconds: float) -> str:
    """65 -> "1 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
