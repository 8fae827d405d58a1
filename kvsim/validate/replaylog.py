"""Logs of replays whose steps an executor ran: written once, committed, and read back to be held against the model.

`hardware/calibration/<chip>/replays/<name>/` holds

    run.json          what was replayed, on what, with which versions; requests preempted, in order; peak bytes
    trace.jsonl.gz    the requests as they were sent, in kvsim's own layout
    steps.csv.gz      a row a step: when it started, what it took, and what was in it
    requests.csv      a row a request: when it was scheduled, emitted its first token and was done

so that a replay can be had again without the trace it was cut from: with the logged seconds (`Logged`), or with the
model's own.
"""

import csv
import gzip
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kvsim.engine.executor import Executed, ExecutedSpan, Step
from kvsim.engine.replica import Replica, Span
from kvsim.errors import UserError
from kvsim.traces.trace import Trace

if TYPE_CHECKING:
    from kvsim.replay import Report

Floats = NDArray[np.float64]
RUN, TRACE, STEPS, REQUESTS = "run.json", "trace.jsonl.gz", "steps.csv.gz", "requests.csv"
STEP_COLUMNS = ("start_s", "seconds", "gpu_s", "host_s", "decodes", "chunks", "new_tokens", "past_tokens")
REQUEST_COLUMNS = ("arrival_s", "scheduled_s", "first_token_s", "done_s", "hit_tokens", "preemptions", "rejected")
ARGUMENTS = ("hw", "model", "policy", "serving", "settings", "tp", "fidelity", "reuse")


class Recorder:
    """An observer of a run with an executor: keeps what `write_replay` writes of its steps."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []

    def __call__(self, replica: Replica, span: Span) -> None:
        """After each step."""
        if not isinstance(span, ExecutedSpan) or replica.number:
            raise RuntimeError("only steps of a single replica that an executor ran can be recorded")
        took, step = span.executed, span.step
        new, past = sum(seq.chunk for seq in step.chunks), sum(seq.computed for seq in step.chunks)
        counts = (len(step.decoding), len(step.chunks), new, past)
        self.rows.append((span.start_s, took.seconds, took.gpu_s, took.host_s, *counts))


@dataclass(frozen=True)
class Replay:
    """A log that was read back.

    Attributes:
        chip: whose folder it lies in. arguments: of `kvsim.run`. about: device, versions, command, peak bytes.
        steps, requests: the columns of both tables by name. preempted: requests in the order they were.
    """

    chip: str
    name: str
    arguments: Mapping[str, Any]
    about: Mapping[str, Any]
    trace: Trace
    steps: Mapping[str, Floats]
    requests: Mapping[str, Floats]
    preempted: tuple[int, ...]


class Logged:
    """An executor that takes what a log says; the batch must be the one that was logged."""

    def __init__(self, replay: Replay) -> None:
        self._where = f"{replay.chip}/replays/{replay.name}"
        self._steps = replay.steps

    def step(self, step: Step) -> Executed:
        """The logged seconds of a step.

        Raises:
            UserError: it is not the step that was logged.
        """
        at, log = step.number, self._steps
        now = (len(step.decoding), sum(seq.chunk for seq in step.chunks))
        then = (int(log["decodes"][at]), int(log["new_tokens"][at])) if at < len(log["seconds"]) else None
        if now != then:
            was = f"{then[0]} decodes and {then[1]} prompt tokens" if then else "no step"
            raise UserError(
                f"{self._where}: step {at + 1} now has {now[0]} decodes and {now[1]} prompt tokens, but was logged "
                f"with {was}: scheduling has changed since; log the replay anew"
            )
        return Executed(float(log["seconds"][at]), float(log["gpu_s"][at]), float(log["host_s"][at]))

    def close(self) -> None:
        """Nothing is held."""


def write_replay(
    folder: Path, report: "Report", recorder: Recorder, about: Mapping[str, Any], reuse: str = "outputs"
) -> None:
    """Write the log of a finished run to `folder`.

    Args:
        about: device, driver, versions, the command, `peak_bytes` and `kv_bytes` that the executor allocated.

    Raises:
        UserError: sessions in a closed loop, several replicas, a folder that cannot be written.
    """
    run = report.simulation
    if run.closed or run.trace.sessions or len(run.replicas) > 1:
        raise UserError(f"{folder}: a log holds an open loop of single requests on one replica")
    from kvsim.traces.write import write_trace

    names, preset = report.names, _differing(report)
    layout = run.layout
    arguments = {
        **{key: names[key] for key in ("hw", "model", "policy", "serving")},
        "settings": preset,
        "tp": layout.geo.tp,
        "fidelity": layout.policy.fidelity,
        "reuse": reuse,
    }
    known = {"arguments": arguments, "preempted": run.replicas[0].scheduler.preempted, "about": dict(about)}
    columns = run.columns
    table = zip(*(getattr(columns, name).tolist() for name in REQUEST_COLUMNS), strict=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RUN).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        write_trace(run.trace, folder / TRACE)
        (folder / REQUESTS).write_text(_csv(REQUEST_COLUMNS, table), encoding="utf-8")
        with gzip.GzipFile(folder / STEPS, "wb", mtime=0) as packed:
            packed.write(_csv(STEP_COLUMNS, recorder.rows).encode())
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None


def _differing(report: "Report") -> dict[str, Any]:
    """Settings that are not the preset's own."""
    from kvsim.replay import serving_preset

    base = serving_preset(report.names["serving"])
    now = asdict(report.simulation.serving)
    return {field.name: now[field.name] for field in fields(base) if now[field.name] != getattr(base, field.name)}


def read_replay(folder: Path) -> Replay:
    """The log in `folder`.

    Raises:
        UserError: a file is missing or is not what `write_replay` writes.
    """
    from kvsim.traces.read import read_trace

    try:
        known = json.loads((folder / RUN).read_text(encoding="utf-8"))
        with gzip.open(folder / STEPS, "rt", encoding="utf-8") as file:
            steps = _columns(file.read(), STEP_COLUMNS, folder / STEPS)
        requests = _columns((folder / REQUESTS).read_text(encoding="utf-8"), REQUEST_COLUMNS, folder / REQUESTS)
        arguments = {name: known["arguments"][name] for name in ARGUMENTS}
        preempted, about = tuple(known["preempted"]), known["about"]
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / RUN}: is no log of a replay: {error!r}") from None
    trace = read_trace(folder / TRACE)
    if len(trace) != len(requests["done_s"]):
        raise UserError(f"{folder}: {TRACE} has {len(trace)} requests, {REQUESTS} {len(requests['done_s'])}")
    return Replay(folder.parent.parent.name, folder.name, arguments, about, trace, steps, requests, preempted)


def _csv(names: tuple[str, ...], rows: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue()


def _columns(text: str, names: tuple[str, ...], path: Path) -> dict[str, Floats]:
    rows = list(csv.DictReader(io.StringIO(text)))
    missing = [name for name in names if not rows or name not in rows[0]]
    if missing:
        raise UserError(f"{path}: {f'lacks the column {missing[0]!r}' if rows else 'has no rows'}")
    value = {"True": "1", "False": "0"}
    return {name: np.array([float(value.get(row[name], row[name])) for row in rows]) for name in names}
