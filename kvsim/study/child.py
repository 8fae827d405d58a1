"""A child process with a pipe from and to its parent, for lines of JSON. It never outlives the parent."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any

from kvsim import find


def started(module: str) -> "subprocess.Popen[bytes]":
    """A plain Python that runs `module` of kvsim, both ends piped; deaf to the terminal's Ctrl-C."""
    path = os.pathsep.join(filter(None, (str(find.ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        process_group=0,  # Ctrl-C is for the parent, which ends its children
    )


def end(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and what it started."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(BrokenPipeError):
            if pipe:
                pipe.close()


class Parent:
    """The parent, as its child sees it. The child ends with its stdin, at once and whatever it is doing."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # what anything else prints is no message
        self._lines: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._read, daemon=True).start()

    def receive(self) -> Any:
        """The next message, waited for."""
        return json.loads(self._lines.get())

    def send(self, message: Any) -> None:
        """A message, on its way when this returns."""
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def _read(self) -> None:
        for line in sys.stdin:
            self._lines.put(line)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # with what it started
        os._exit(0)
