"""Tasks in processes: every result once, every failure reported, nobody left behind."""

import multiprocessing
import os
import signal

import pytest

from kvsim.decide.parallel import cores, each
from kvsim.errors import UserError


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_every_result_once(workers: int) -> None:
    shift = 5  # a closure: nothing is pickled on the way in
    found = dict(each(lambda task: task + shift, range(20), workers))
    assert found == {number: number + shift for number in range(20)}
    assert not multiprocessing.active_children()


def test_no_tasks() -> None:
    assert list(each(abs, [], 4)) == []


def test_work_is_shared() -> None:
    assert len({pid for _, pid in each(lambda _: os.getpid(), range(8), 2)} - {os.getpid()}) == 2


def _fail(task: int) -> int:
    if task == 3:
        raise UserError("three is too many")
    if task == 4:
        raise ValueError("four is worse")
    if task == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


@pytest.mark.parametrize(
    ("task", "kind", "message"),
    [(3, UserError, "three is too many"), (4, RuntimeError, "ValueError: four"), (5, UserError, "fewer --workers")],
)
def test_failures(task: int, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        list(each(_fail, [1, task], 2))
    assert not multiprocessing.active_children()


def test_stopping_early_ends_the_workers() -> None:
    results = each(lambda task: task, range(50), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not multiprocessing.active_children()


def test_cores() -> None:
    assert cores() == (os.cpu_count() or 1)
    assert cores(3) == 3
    with pytest.raises(UserError, match="workers must be at least 1, but got 0"):
        cores(0)
