"""Independent tasks in forked processes: each result as soon as it is there, no process left behind."""

import multiprocessing
import os
import signal
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from kvsim.errors import UserError

Task = TypeVar("Task")
Result = TypeVar("Result")


def cores(workers: int | None = None) -> int:
    """How many processes to use: as many as asked for, else as the machine has cores.

    Raises:
        UserError: fewer than one.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers must be at least 1, but got {workers}")
    return workers or os.cpu_count() or 1


def each(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[tuple[int, Result]]:
    """(number of the task, `work(task)`) in the order in which they end.

    Processes are forked, so `work` and the tasks may hold what cannot be sent, such as a trace of millions of rows, and
    share its memory; results are sent. One worker, or one task, works in this process.

    Raises:
        UserError: a task raised it, or a process was killed.
        RuntimeError: a task raised something else; with the traceback.
    """
    workers = min(workers, len(tasks))
    if workers <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        for number, task in enumerate(tasks):
            yield number, work(task)
        return
    team: dict[Connection, BaseProcess] = {}
    try:
        for _ in range(workers):
            _hire(team, work, tasks)
        waiting = iter(range(len(tasks)))
        for connection in team:
            connection.send(next(waiting))
        for _ in tasks:
            connection = next(ready for ready in wait(list(team)) if isinstance(ready, Connection))
            number, result = _received(connection, team[connection])
            with suppress(StopIteration):
                connection.send(next(waiting))
            yield number, result
    finally:
        for connection, process in team.items():
            connection.close()
            process.terminate()
        for process in team.values():
            process.join()


def _hire(team: dict[Connection, BaseProcess], work: Callable[[Task], Any], tasks: Sequence[Task]) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    others = [ours, *team]  # a worker that kept them open would not see us end
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: the worker uses none of them
        process = context.Process(target=_serve, args=(theirs, others, work, tasks), daemon=True)
        process.start()
    theirs.close()
    team[ours] = process


def _received(connection: Connection, process: BaseProcess) -> tuple[int, Any]:
    try:
        number, result, failure = connection.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"a worker process was ended from outside (exit code {process.exitcode}), perhaps for its memory: "
            "fewer --workers need less"
        ) from None
    if isinstance(failure, UserError):
        raise failure
    if failure is not None:
        raise RuntimeError(f"in a worker process:\n{failure}")
    return number, result


def _serve(
    connection: Connection, others: list[Connection], work: Callable[[Task], Any], tasks: Sequence[Task]
) -> None:
    """A worker's life: numbers of tasks in, results out, until nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()
    with suppress(EOFError, OSError):
        while True:
            number = connection.recv()
            try:
                answer: tuple[int, Any, Any] = (number, work(tasks[number]), None)
            except UserError as error:
                answer = (number, None, error)
            except Exception:
                answer = (number, None, traceback.format_exc())
            connection.send(answer)
