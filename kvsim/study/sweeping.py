"""`kvsim.sweep`: every point of a study run once, however often it is interrupted."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kvsim
from kvsim.errors import UserError, unknown
from kvsim.study import cluster, local, table
from kvsim.study.paths import read_by
from kvsim.study.points import Plan, plan
from kvsim.study.store import Store, opened

ENGINES = ("local", "ray")
Progress = Callable[[int, int, int, int], None]


@dataclass(frozen=True)
class Sweep:
    """A finished study. `results` is what results.json holds; `ran` of its points were run now, not found finished."""

    results: dict[str, Any]
    folder: Path
    ran: int

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Points without figures, each with its `error`."""
        return [point for point in self.results["points"] if point["status"] != "done"]

    def rows(self) -> list[dict[str, Any]]:
        """A flat row for each point, as in results.csv."""
        return table.rows(self.results)

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return self.results


def sweep(
    study: str | Path | Mapping[str, Any],
    *,
    out: str | Path | None = None,
    engine: str = "local",
    workers: int | None = None,
    resume: bool = False,
    ray_address: str | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Run a study; each finished point is on disk at once, in a store that survives kill -9.

    Args:
        study: a study YAML, or what one holds.
        out: the folder of the store and of results.csv, .parquet and .json; by default named as the study.
        engine: "local" processes of this machine, or "ray".
        workers: how many points run at once; by default the CPUs that this process may use.
        resume: go on with a store of this study: what is finished stays, points whose worker died are run again.
        ray_address: of a running Ray cluster, instead of a local one.
        progress: called after each point with those finished, those that failed, all, and those finished before.

    Raises:
        UserError: a fault in the study; a folder with something else in it; no Ray. Not: a point that fails.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if workers is not None and not 1 <= workers <= 1024:
        raise UserError(f"workers must be from 1 to 1024, but got {workers}")
    if ray_address and engine != "ray":
        raise UserError("a Ray address is for the engine ray")
    laid = plan(study)
    folder = Path(out) if out is not None else Path(laid.name)
    with opened(folder, _digest(laid), len(laid.points), resume) as store:
        ran = _run(laid, store, engine, workers, ray_address, progress or (lambda *counts: None))
        results = table.results(laid, store.outcomes())
        table.write(results, folder)
    return Sweep(results, folder, ran)


def _run(laid: Plan, store: Store, engine: str, workers: int | None, address: str | None, progress: Progress) -> int:
    """Run the points that the store lacks, keep each as it ends, and return how many there were."""
    finished = {outcome.number: outcome for outcome in store.outcomes() if outcome.final}
    failed = sum(outcome.status != "done" for outcome in finished.values())
    tasks = [(number, options) for number, options in enumerate(laid.points) if number not in finished]
    progress(len(finished), failed, len(laid.points), len(finished))
    if not tasks:
        return 0
    folder, many = str(laid.folder.resolve()), workers or len(os.sched_getaffinity(0))
    engines = cluster.outcomes(tasks, folder, many, address) if engine == "ray" else local.outcomes(tasks, folder, many)
    with closing(engines) as outcomes:
        for ran, outcome in enumerate(outcomes, 1):
            store.add(outcome)
            failed += outcome.status != "done"
            progress(len(finished) + ran, failed, len(laid.points), len(finished))
    return len(tasks)


def _digest(laid: Plan) -> str:
    """Of all that a point's figures follow from: its options, this version, and the contents of the files they name."""
    hashes = []
    for path in read_by(laid.points, laid.folder):
        try:
            with path.open("rb") as file:
                hashes.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    whole = json.dumps([kvsim.__version__, laid.name, laid.varied, laid.points, sorted(hashes)])
    return hashlib.sha256(whole.encode()).hexdigest()
