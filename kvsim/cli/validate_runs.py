"""Parts of `kvsim validate` that hold whole steps and runs against the model."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from kvsim.errors import UserError, unknown

PARTS = ("steps", "replays", "policies", "engines")


def show_part(what: str, hw: str | None, borrow: bool, out: Path | None, as_json: bool) -> None:
    """Print one of PARTS; with `out`, draw it there where there is something to draw."""
    if what not in PARTS:
        raise unknown("part", what, ("kernels", *PARTS), "validate")
    shown: dict[str, Callable[[str | None], tuple[Any, Callable[[], Iterable[str]]]]]
    shown = {"steps": _steps, "replays": _replays, "policies": _policies, "engines": _engines}
    if borrow and what not in ("steps", "replays"):
        raise UserError(f"validate {what}: takes --hw, --out and --json; --borrow is for kernels, steps and replays")
    found, lines = shown[what](hw) if not borrow else {"steps": _lent_steps, "replays": _lent_replays}[what](hw)
    if out:
        from kvsim.validate.runplots import draw

        try:
            out.mkdir(parents=True, exist_ok=True)
            drawn = draw(what, hw, out)
        except OSError as error:
            raise UserError(f"{out}: cannot be written: {error.strerror or error}") from None
        click.echo(f"{drawn}: predicted over executed", err=True)
    click.echo(json.dumps(found, allow_nan=False) if as_json else "\n".join(line.rstrip() for line in lines()))


def _steps(hw: str | None) -> Any:
    from kvsim.validate.stepcheck import step_checks
    from kvsim.validate.steptables import step_json, step_lines

    found = step_checks(hw)
    _some(found, "steps", hw)
    return {key: value for key, value in step_json(found).items() if key != "promises"}, lambda: step_lines(found)


def _lent_steps(hw: str | None) -> Any:
    from dataclasses import asdict

    from kvsim.validate.stepcheck import lent, step_checks
    from kvsim.validate.steplog import chips
    from kvsim.validate.steptables import lent_lines

    rows = step_checks(hw)
    _some(rows, "steps", hw)
    found = list(lent(rows, chips()))
    return {"lent": [{"lender": name, **asdict(one)} for name, ones in found for one in ones]}, lambda: lent_lines(
        found
    )


def _lent_replays(hw: str | None) -> Any:
    from kvsim.validate.replaycheck import checks, knees
    from kvsim.validate.stepcheck import chip_of
    from kvsim.validate.steplog import chips
    from kvsim.validate.steptables import replay_json, replay_lines

    own = None if hw is None else chip_of(hw)
    found = {lender: checks(own, lender=lender) for lender in chips() if lender != own}
    _some([one for ones in found.values() for one in ones], "replays", hw)
    shown = {lender: replay_json(ones, knees(ones)) for lender, ones in found.items()}
    parts = [(lender, list(replay_lines(ones, knees(ones)))) for lender, ones in found.items()]
    return {"lent": shown}, lambda: (line for lender, lines in parts for line in (f"by {lender}", *lines))


def _policies(hw: str | None) -> Any:
    from kvsim.validate.promise import promises
    from kvsim.validate.stepcheck import step_checks
    from kvsim.validate.steptables import promise_lines, step_json

    found = step_checks(hw)
    _some(found, "steps", hw)
    table = [one for chip, rows in found.items() for one in promises(chip.split()[0], rows)]
    return {"promises": step_json(found)["promises"]}, lambda: promise_lines(table)


def _replays(hw: str | None) -> Any:
    from kvsim.validate.replaycheck import checks, knees
    from kvsim.validate.stepcheck import chip_of
    from kvsim.validate.steptables import replay_json, replay_lines

    found = checks(None if hw is None else chip_of(hw))
    _some(found, "replays", hw)
    rates = knees(found)
    return replay_json(found, rates), lambda: replay_lines(found, rates)


def _engines(hw: str | None) -> Any:
    from kvsim.validate.engines import engine_checks
    from kvsim.validate.runtables import engine_json, engine_lines

    found = list(engine_checks(hw=hw))
    _some(found, "runs of engines", hw)
    return {"engines": engine_json(found)}, lambda: engine_lines(found)


def _some(found: Any, what: str, hw: str | None) -> None:
    if not found:
        raise UserError(f"validate {what}: none are logged{f' of {hw}' if hw else ''}")


def show_log(path: Path, hw: str | None, as_json: bool, options: dict[str, Any]) -> None:
    """Hold a user's log against the simulator."""
    from kvsim.cli.options import pairs
    from kvsim.traces.read import parse_columns
    from kvsim.validate.enginelog import check_log, read_log
    from kvsim.validate.runtables import log_json, log_lines

    if hw is None or options["model"] is None:
        raise UserError("validate --log: give --hw and --model, what the log was made with")
    columns = options.pop("columns")
    named = parse_columns(columns) if columns is not None else None
    trace = read_log(path, columns=named, time_unit=options.pop("time_unit"), format=options.pop("trace_format"))
    settings = pairs(options.pop("settings"), "--set")
    found = check_log(trace, hw=hw, settings=settings, **options)
    names = found.report.names
    where = f"{path} against {names['model']} on {hw}, policy {names['policy']}, serving {names['serving']}"
    click.echo(json.dumps(log_json(found), allow_nan=False) if as_json else "\n".join(log_lines(found, where)))
