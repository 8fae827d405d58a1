"""The engine `local`: points run in processes of this machine, each a plain Python started with a pipe to it.

They are not multiprocessing's, which copies this process's threads, or imports the caller's script once more.
"""

import json
import selectors
import signal
import subprocess
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import Any

from kvsim.study.child import end, started
from kvsim.study.point import Outcome

Task = tuple[int, dict[str, Any]]  # a point's number and its options
_DEATH_S = 5.0  # from the end of a dying process's output to that of the process


def outcomes(tasks: Iterable[Task], folder: str, workers: int) -> Generator[Outcome, None, None]:
    """Run tasks in `workers` processes and yield outcomes as they come, in any order.

    A point whose worker dies is run once more, in a new one. All processes are gone when this ends, however it ends.

    Args:
        folder: what paths in options are relative to.
    """
    waiting = deque((number, options, 0) for number, options in tasks)
    crew: list[_Worker] = []
    with selectors.DefaultSelector() as pipes:

        def hire() -> None:
            crew.append(worker := _Worker())
            pipes.register(worker.out, selectors.EVENT_READ, worker)
            worker.give(*waiting.popleft(), folder)

        def dismiss(worker: _Worker) -> None:
            pipes.unregister(worker.out)
            crew.remove(worker)
            worker.end()

        try:
            while crew or waiting:
                while waiting and len(crew) < workers:
                    hire()
                for key, _ in pipes.select():
                    worker = key.data
                    found = worker.take()
                    if found is None:
                        number, options, deaths = worker.task
                        reason = worker.death()
                        dismiss(worker)
                        if deaths:
                            yield Outcome(number, "died", f"its worker died twice: {reason}")
                        else:
                            waiting.appendleft((number, options, 1))
                    elif waiting:
                        worker.give(*waiting.popleft(), folder)
                        yield found
                    else:
                        dismiss(worker)
                        yield found
        finally:
            for worker in crew:
                worker.end()


class _Worker:
    """One process, and the task that it has."""

    def __init__(self) -> None:
        self._process = started("kvsim.study.worker")
        assert self._process.stdin and self._process.stdout
        self._stdin, self.out = self._process.stdin, self._process.stdout
        self.task: tuple[int, dict[str, Any], int] = (-1, {}, 0)

    def give(self, number: int, options: dict[str, Any], deaths: int, folder: str) -> None:
        """Let it run a point that cost `deaths` workers before."""
        self.task = (number, options, deaths)
        line = json.dumps([number, options, folder]) + "\n"
        with suppress(BrokenPipeError):  # of a dead one, as its end of the other pipe will say
            self._stdin.write(line.encode())
            self._stdin.flush()

    def take(self) -> Outcome | None:
        """The outcome that it sent; None if it died."""
        line = self.out.readline()
        return Outcome(*json.loads(line)) if line.endswith(b"\n") else None

    def death(self) -> str:
        """How a process that is dying, or dead, ended."""
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_DEATH_S)
            if code >= 0:
                return f"exit code {code}"
            memory = ", as the kernel does when memory runs out" if -code == signal.SIGKILL else ""
            return f"killed by {signal.Signals(-code).name}{memory}"
        return "it closed its output"

    def end(self) -> None:
        """End it, whatever it does."""
        end(self._process)
