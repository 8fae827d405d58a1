"""A progress bar on stderr for runs that take a while, when somebody is looking."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any

PATIENCE_S = 2.0


class Progress:
    """Counts requests; after PATIENCE_S seconds a bar shows them. Counting costs an assignment."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._task: Any = None
        self._seen = (0, 0)
        self._lock, self._over = Lock(), False

    def __call__(self, arrived: int, total: int) -> None:
        """`arrived` of `total` requests are done with, or have reached the queue."""
        self._seen = (arrived, total)
        if self._bar is not None:
            self._bar.update(self._task, completed=arrived, total=total)

    def show(self) -> None:
        """Start the bar; rich is imported here, in the timer's thread, when it is needed."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with self._lock:
            if self._over:
                return
            bar = Bar(*columns, console=Console(stderr=True), transient=True)
            arrived, total = self._seen
            self._task = bar.add_task(self._label, completed=arrived, total=total or None)
            bar.tasks[0].start_time = bar.get_time() - PATIENCE_S
            bar.start()
            self._bar = bar

    def stop(self) -> None:
        """Remove the bar, or never show it."""
        with self._lock:
            self._over = True
            if self._bar is not None:
                self._bar.stop()


@contextmanager
def progress(label: str = "requests arrived") -> Iterator[Progress | None]:
    """A Progress while a command lasts; None when stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    counter = Progress(label)
    timer = Timer(PATIENCE_S, counter.show)
    timer.daemon = True
    timer.start()
    try:
        yield counter
    finally:
        timer.cancel()
        counter.stop()
