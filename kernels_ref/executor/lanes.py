"""The two directions of the host link as streams beside the computing one, and the buffers that they hand over.

A buffer is fetched into, computed with, and perhaps copied out of, in turn; events order these without stopping the
host. All of it may be captured in a graph. On a CPU everything happens at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Lanes:
    """`buffers` buffers, each fetched into only after what was in it has been used."""

    def __init__(self, device: torch.device, buffers: int) -> None:
        self.gpu, self.buffers = device.type == "cuda", buffers
        self._in, self._out = (torch.cuda.Stream() if self.gpu else None for _ in range(2))
        self._ready: list[torch.cuda.Event | None] = []
        self._used: list[torch.cuda.Event | None] = []

    def begin(self) -> None:
        """A step begins: both directions wait for what the computing stream did before."""
        self._ready, self._used = [None] * self.buffers, [None] * self.buffers
        for stream in (self._in, self._out):
            if stream is not None:
                stream.wait_stream(torch.cuda.current_stream())

    def end(self) -> None:
        """A step ends when both directions are done."""
        for stream in (self._in, self._out):
            if stream is not None:
                torch.cuda.current_stream().wait_stream(stream)

    @contextmanager
    def fetching(self, buffer: int) -> Iterator[None]:
        """Copies in the body fill a buffer once it is free."""
        if self._in is None:
            yield
            return
        used = self._used[buffer]
        with torch.cuda.stream(self._in):
            if used is not None:
                self._in.wait_event(used)
            yield
            self._ready[buffer] = _mark(self._in)

    def await_fetch(self, buffer: int) -> None:
        """The computing stream needs what was fetched."""
        ready = self._ready[buffer] if self.gpu else None
        if ready is not None:
            torch.cuda.current_stream().wait_event(ready)

    def used(self, buffer: int) -> None:
        """The computing stream is done with a buffer."""
        if self.gpu:
            self._used[buffer] = _mark(torch.cuda.current_stream())

    @contextmanager
    def returning(self, buffer: int | None = None) -> Iterator[None]:
        """Copies in the body follow what was computed so far; a buffer is free after them."""
        if self._out is None:
            yield
            return
        self._out.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._out):
            yield
            if buffer is not None:
                self._used[buffer] = _mark(self._out)


def _mark(stream: torch.cuda.Stream) -> torch.cuda.Event:
    event = torch.cuda.Event()
    event.record(stream)
    return event
