"""`kvsim validate`: predicted kernel times against measured ones."""

import json
from pathlib import Path

import click


@click.command("validate")
@click.option("--hw", metavar="NAME", help="Of one machine, chip or link. [default: all that were measured]")
@click.option("--borrow", is_flag=True, help="Also price each chip by other chips' curves and by its datasheet.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Draw predicted over measured there.")
@click.option("--on", type=click.Path(path_type=Path), metavar="FILE", help="Hold --hw against your own CSV instead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def validate_command(hw: str | None, borrow: bool, out: Path | None, on: Path | None, as_json: bool) -> None:
    """Hold predicted kernel times against measured ones.

    Curves were fitted to one half of the shapes and are held to the other, by whole groups of shapes. Figures are of
    |predicted / measured - 1|: median, 9 of 10, worst. Published measurements are read from KVSIM_SHARED; without
    them, the residuals that were committed with the curves are shown, and marked.

    \b
    kvsim validate
    kvsim validate --hw l40s --borrow --out plots
    kvsim validate --hw a100-80 --on mine.csv

    FILE has the columns op, dtype and seconds, and the arguments of each op as `kvsim op` takes them; or it is a table
    that `kvsim calibrate` wrote, or a folder of them.
    """
    from kvsim.errors import UserError

    if on:
        if hw is None or borrow or out:
            raise UserError("validate --on: give --hw, the machine to predict, and neither --borrow nor --out")
        _own(on, hw, as_json)
        return
    from kvsim.validate.compare import comparisons, in_steps, lent
    from kvsim.validate.table import render, to_json
    from kvsim.validate.wholesteps import whole_steps

    compared, steps = comparisons(hw), in_steps(hw)
    whole = whole_steps() if any(name == "rtx-4090" for name, _ in steps) else {}
    borrowed = list(lent(hw)) if borrow else []
    if out:
        if all(one.rows is None for one in compared):
            raise UserError("validate --out: no measurements to draw; KVSIM_SHARED names the folder of published ones")
        from kvsim.validate.plot import scatter

        try:
            out.mkdir(parents=True, exist_ok=True)
            scatter(compared, out / "validation.png")
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
        click.echo(f"{out / 'validation.png'}: predicted over measured", err=True)
    shown = to_json(compared, steps, whole, borrowed) if as_json else None
    click.echo(json.dumps(shown, allow_nan=False) if shown else render(compared, steps, whole, borrowed))


def _own(path: Path, hw: str, as_json: bool) -> None:
    from kvsim.validate.mine import lines, mine

    found = mine(path, hw)
    if not as_json:
        click.echo("\n".join(lines(found, path, hw)))
        return
    shown = [
        {
            "op": one.op,
            "dtype": one.dtype,
            "kernel": one.kernel,
            **one.residuals.model_dump(),
            "provenance": one.source.text,
            "expected_error": one.source.expected_error,
        }
        for one in found
    ]
    click.echo(json.dumps({"hw": hw, "file": str(path), "comparisons": shown}, allow_nan=False))
