"""The engine `ray`: points run as tasks of a Ray cluster, or of a local one that is started for the sweep.

Ray lives in a child process: it is slow to shut down, and its own handlers would come between a user and Ctrl-C. When
the child is killed, what Ray started beside it ends as well.
"""

import importlib.util
import json
import logging
import os
from collections.abc import Generator, Iterable
from typing import Any

from kvsim.errors import UserError
from kvsim.study.child import Parent, end, started
from kvsim.study.local import Task
from kvsim.study.point import Outcome, outcome


def outcomes(tasks: Iterable[Task], folder: str, workers: int, address: str | None) -> Generator[Outcome, None, None]:
    """Run tasks on Ray and yield outcomes as they come, in any order. A point whose worker dies is run once more.

    Args:
        folder: what paths in options are relative to: an absolute path that every node can read.
        workers: CPUs of a local cluster. address: of a running one, whose nodes have this kvsim installed.

    Raises:
        UserError: Ray is not installed, or there is no cluster at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError("engine ray needs Ray: pip install 'kvsim[ray]'")
    tasks = list(tasks)
    driver = started("kvsim.study.cluster")
    assert driver.stdin and driver.stdout
    try:
        driver.stdin.write(json.dumps([tasks, folder, workers, address]).encode() + b"\n")
        driver.stdin.flush()
        for _ in tasks:
            line = driver.stdout.readline()
            message = json.loads(line) if line.endswith(b"\n") else {"fault": "the process that drives Ray ended"}
            if isinstance(message, dict):
                raise UserError(f"engine ray: {message['fault']}; finished points are kept")
            yield Outcome(*message)
    finally:
        end(driver)


def main() -> None:
    """The child: what the parent asks for, run on Ray."""
    parent = Parent()
    tasks, folder, workers, address = parent.receive()
    try:
        ray = _ray(workers, address)
    except Exception as fault:  # of many kinds; ends in one line
        parent.send({"fault": " ".join(f"{type(fault).__name__}: {fault}".split())})
        return
    run = ray.remote(num_cpus=1, max_retries=0)(outcome)
    running = {run.remote(number, options, folder): (number, options, 0) for number, options in tasks}
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        number, options, deaths = running.pop(ready)
        try:
            found = ray.get(ready)
        except ray.exceptions.RayError as fault:
            if not deaths:
                running[run.remote(number, options, folder)] = (number, options, 1)
                continue
            reason = str(fault).strip().partition("\n")[0]
            found = Outcome(number, "died", f"its worker died twice: {type(fault).__name__}: {reason}")
        parent.send([found.number, found.status, found.text])
    parent.receive()  # until the parent, who has all now, ends this process


def _ray(workers: int, address: str | None) -> Any:
    """The module ray, initialized."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default changes; it warns until told
    import ray

    where: dict[str, Any] = {"address": address}
    if address is None:
        where = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    ray.init(
        **where,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}},
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    return ray


if __name__ == "__main__":
    main()
