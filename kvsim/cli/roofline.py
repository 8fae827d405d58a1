"""`kvsim roofline`: Ops of prefill and decode under the roofs of a chip."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from kvsim.errors import UserError

_SUFFIXES = (".png", ".html")


@click.command("roofline")
@click.option("--hw", required=True, metavar="NAME", help="Machine, see `kvsim list hw`.")
@click.option("--model", required=True, metavar="NAME", help="Model, see `kvsim list models`.")
@click.option("--policy", default="full", show_default=True, metavar="P1,P2", help="What happens to the cache.")
@click.option("--batch", default="1,16,64", show_default=True, metavar="B1,B2", help="Sequences of a step.")
@click.option("--context", type=int, default=4096, show_default=True, metavar="N", help="Tokens of each.")
@click.option("--phase", default="prefill,decode", show_default=True, metavar="PHASES", help="Both, or one of them.")
@click.option("--tp", type=int, metavar="T", help="Chips that share the model. [default: all of the machine]")
@click.option("--fidelity", default="ideal", help="ideal: as a good kernel allows; published: as released.")
@click.option("--weight-dtype", default="", metavar="TYPE", help="Of the linear layers: bf16, fp8, int8, int4.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the plot: .png, or .html to point at."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def roofline_command(
    as_json: bool, out: Path | None, policy: str, batch: str, phase: str, tp: int | None, **options: Any
) -> None:
    """Show the Ops of prefill and decode under the roofs of a chip: HBM, host link, peer link.

    An Op of F FLOPs that moves B bytes through a memory of W bytes/s runs at most at min(peak, F / B x W). The table
    gives each one's intensity F / B, what it attains of its roof, and what bounds it.

    \b
    kvsim roofline --hw h100 --model llama-3-8b --policy full,headinfer --context 16000 --out roofline.html
    kvsim roofline --hw rtx4090 --model llama-3-8b --policy kivi --batch 1,8 --phase decode --json
    """
    write = _writer(out) if out else None
    if tp is not None and tp < 1:
        raise UserError(f"--tp must be at least 1, but got {tp}")
    from kvsim.cli.step import whole_numbers
    from kvsim.roofs import roofline

    batches = whole_numbers(batch, "--batch")
    found = roofline(policy=policy.split(","), batch=batches, phase=phase.split(","), tp=tp or 0, **options)
    if out and write:
        write(found, out)
        click.echo(f"{out}: {len(found.dots)} Ops", err=True)
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False))
        return
    from kvsim.report.rooftable import render

    click.echo(render(found))


def _writer(path: Path) -> Callable[[Any, Path], None]:
    """What writes a file of that name; finds out now whether it can be written."""
    if path.suffix not in _SUFFIXES:
        raise UserError(f"--out {path}: must end in {' or '.join(_SUFFIXES)}")
    from kvsim.report.files import check_file

    check_file(path)
    if path.suffix == ".png":
        from kvsim.report.roofplot import draw

        return draw
    from kvsim.report.roofpage import write

    return write
