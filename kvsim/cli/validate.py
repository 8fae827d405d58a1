"""`kvsim validate`: predicted kernel times against measured ones."""

import json
from pathlib import Path
from typing import Any

import click


@click.command("validate")
@click.argument("what", default="kernels")
@click.option("--hw", metavar="NAME", help="Of one machine, chip or link. [default: all that were measured]")
@click.option("--borrow", is_flag=True, help="Also price each chip by other chips' curves and by its datasheet.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Draw predicted over measured there.")
@click.option("--on", type=click.Path(path_type=Path), metavar="FILE", help="Hold --hw against your own CSV instead.")
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Hold your engine's own log against it.")
@click.option("--model", metavar="NAME", help="--log: what was served.")
@click.option("--policy", metavar="NAME", help="--log: what happened to the cache. [default: full]")
@click.option("--serving", metavar="NAME", help="--log: the engine's preset. [default: vllm]")
@click.option("--tp", type=int, metavar="N", help="--log: chips that shared the model. [default: all]")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="--log: a field of the preset; repeatable.")
@click.option("--map", "columns", metavar="KEY=COLUMN,...", help="--log: columns arrival, input, output, first, done.")
@click.option("--time-unit", metavar="UNIT", help="--log: of --map's stamps: s, ms, us or ns. [default: s]")
@click.option("--format", "trace_format", metavar="NAME", help="--log: its format. [default: by its first line]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def validate_command(
    what: str,
    hw: str | None,
    borrow: bool,
    out: Path | None,
    on: Path | None,
    log: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Hold predictions against what was measured: kernels, steps, replays, policies, engines, or your log.

    WHAT is one of the first five; without it, kernels. Curves were fitted to one half of the shapes and are held to the
    other, by whole groups of shapes. Figures are of |predicted / measured - 1|: median, 9 of 10, worst. Published
    measurements are read from KVSIM_SHARED; without them, the residuals that were committed with the curves are shown,
    and marked.

    \b
    kvsim validate
    kvsim validate --hw l40s --borrow --out plots
    kvsim validate --hw a100-80 --on mine.csv
    kvsim validate engines
    kvsim validate --log result.json --hw h100 --model llama-2-7b --serving vllm --set max_num_seqs=128

    --on FILE has the columns op, dtype and seconds, and the arguments of each op as `kvsim op` takes them; or it is a
    table that `kvsim calibrate` wrote, or a folder of them.

    steps: executed by kernels_ref's executor, by model, phase and policy. replays: whole ones, in lockstep (the model
    on the executed batches) and free-running. policies: what each promised and what it kept. engines: what others
    published of theirs, predicted with a preset and nothing fitted. --log: a result of `vllm bench serve`, or requests
    with stamps.
    """
    from kvsim.errors import UserError

    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value not in (None, ())]
    if log:
        from kvsim.cli.validate_runs import show_log

        if what != "kernels" or borrow or out or on:
            raise UserError("validate --log: takes --hw, --model, --policy, --serving, --tp, --set, --map and --json")
        show_log(log, hw, as_json, options)
        return
    if given:
        raise UserError(f"validate: {given[0].replace('settings', 'set').replace('columns', 'map')} is for --log FILE")
    if what != "kernels":
        from kvsim.cli.validate_runs import show_part

        if on:
            raise UserError(f"validate {what}: --on is for kernels")
        show_part(what, hw, borrow, out, as_json)
        return
    if on:
        if hw is None or borrow or out:
            raise UserError("validate --on: give --hw, the machine to predict, and neither --borrow nor --out")
        _own(on, hw, as_json)
        return
    from kvsim.validate.compare import comparisons, in_steps
    from kvsim.validate.leftout import lent
    from kvsim.validate.table import render, to_json
    from kvsim.validate.wholesteps import whole_steps

    compared, steps = comparisons(hw), in_steps(hw)
    whole = whole_steps() if any(name == "rtx-4090" for name, _ in steps) else {}
    borrowed = lent(hw) if borrow else []
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
