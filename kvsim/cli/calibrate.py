"""`kvsim calibrate`: measure the GPU at hand into raw tables."""

from pathlib import Path

import click


@click.command("calibrate")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for the tables.")
@click.option("--only", metavar="A,B", help="Some classes of measurement. [default: all that the machine can do]")
@click.option("--fine", is_flag=True, help="Larger grids, and up to four times as long.")
@click.option("--scale", type=click.FloatRange(0.01, 100), default=1.0, help="Of the seconds each class may take.")
def calibrate_command(out: Path, only: str | None, fine: bool, scale: float) -> None:
    """Measure this machine's GPU: kernels, copies, launches, power; a raw table a class.

    Takes four minutes at most. Rows that are in DIR already are kept, so that an interrupted run goes on where it
    stopped. Needs a CUDA device and the extra `kernels` (torch, triton). Classes: launches, gemm, attention_decode,
    attention_prefill, copies, elementwise, policies, power, grouped_gemm, mixed, ragged_decode, collectives (two
    GPUs or more).

    \b
    kvsim calibrate --out mine
    kvsim calibrate --out mine --only gemm,copies --fine
    kvsim validate --hw h100 --on mine
    """
    from kvsim import find
    from kvsim.errors import UserError, unknown

    start = find.kernels("calibrate.start", "kvsim calibrate")
    classes = find.kernels("calibrate.driver", "kvsim calibrate").CLASSES
    names = only.split(",") if only else classes
    for name in names:
        if name not in classes:
            raise unknown("class of measurement", name, classes)
    try:
        lines = start.calibrate(out, names, fine, scale)
    except (ValueError, RuntimeError) as mistake:
        raise UserError(f"calibrate: {mistake}") from None
    except OSError as error:
        raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
    click.echo("\n".join(lines))
