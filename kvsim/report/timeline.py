"""A run as a Chrome trace (JSON, for ui.perfetto.dev): a process a replica, a track a lane, counters of its batch."""

import gzip
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from kvsim.engine.replica import Replica, Span
from kvsim.engine.roads import Road
from kvsim.report.lanes import LANES, lane_seconds
from kvsim.traces.write import replacing

MAX_SPANS = 100_000
_TRACKS = ("steps", *LANES)


class Timeline:
    """An observer that keeps a run's first `most` spans of steps, and counts the rest."""

    def __init__(self, most: int = MAX_SPANS) -> None:
        self.most, self.spans = most, 0
        self._kept: list[tuple[Any, ...]] = []
        self._transfers: list[tuple[int, str, float, float, int]] = []

    def __call__(self, replica: Replica, span: Span) -> None:
        """Take a span that was run."""
        self.spans += 1
        if self.spans > self.most:
            return
        tiers = replica.scheduler.tiers
        if tiers and not tiers.all.on_transfer:
            tiers.all.on_transfer = partial(self._transfer, replica)
        plan, steps, scheduler = span.plan, span.steps, replica.scheduler
        lanes = (float(span.ends[steps - 1]) - span.start_s, *lane_seconds(replica, span))
        prefill = sum(seq.chunk for seq in plan.chunks) * steps
        past = max((seq.computed + seq.chunk * (steps - 1) for seq in plan.chunks), default=0)
        home = scheduler.memory.used()[1]
        work = (steps, plan.decodes, len(plan.chunks), prefill, past, len(scheduler.waiting), home)
        self._kept.append((replica.number, span.start_s, lanes, work))

    def _transfer(self, replica: Replica, road: Road, begun_s: float, moved_bytes: int) -> None:
        """Take a transfer between tiers that has ended now."""
        if len(self._transfers) < self.most:
            self._transfers.append((replica.number, road.name, begun_s, replica.clock.now, moved_bytes))

    def write(self, path: Path) -> None:
        """Write the file, gzip if its name ends in .gz; whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        with replacing(path) as file:
            if path.suffix != ".gz":
                file.writelines(self._lines())
                return
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
                packed.writelines(self._lines())

    @property
    def note(self) -> str:
        """What is left out, if anything is."""
        return f"the first {self.most:,} of {self.spans:,} spans of steps" if self.spans > self.most else ""

    def _lines(self) -> Iterator[bytes]:
        about = {"spans": self.spans, "shown": len(self._kept), "note": self.note or "all spans of steps"}
        yield b'{"displayTimeUnit": "ms", "otherData": ' + json.dumps(about).encode() + b', "traceEvents": [\n'
        comma = b""
        for event in self._events():
            yield comma + json.dumps(event).encode()
            comma = b",\n"
        yield b"\n]}\n"

    def _events(self) -> Iterator[dict[str, Any]]:
        for number in sorted({kept[0] for kept in self._kept}):
            yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": f"replica {number}"}}
            for thread, lane in enumerate(_TRACKS):
                yield {"ph": "M", "name": "thread_name", "pid": number, "tid": thread, "args": {"name": lane}}
        for number, start_s, lanes, work in self._kept:
            steps, decodes, chunks, prefill, past, waiting, home = work
            args = {
                "steps": steps,
                "decodes": decodes,
                "prompts": chunks,
                "prefill_tokens": prefill,
                "longest_past_tokens": past,
            }
            what = "decode" if not chunks else "prefill" if not decodes else "mixed"
            at = {"pid": number, "ts": start_s * 1e6}
            for thread, busy_s in enumerate(lanes):
                if busy_s > 0:
                    name = f"{what} x{steps}" if steps > 1 else what
                    shown = {**at, "ph": "X", "name": name, "tid": thread, "dur": busy_s * 1e6}
                    yield {**shown, "args": args} if thread == 0 else shown
            yield {**at, "ph": "C", "name": "sequences", "args": {"running": decodes + chunks, "waiting": waiting}}
            yield {**at, "ph": "C", "name": "cache GB", "args": {"cache": home / 1e9}}
        for key, (number, name, begun_s, end_s, moved) in enumerate(self._transfers):
            one = {"pid": number, "cat": "transfers", "id": key, "name": name}
            yield {**one, "ph": "b", "ts": begun_s * 1e6, "args": {"bytes": moved}}
            yield {**one, "ph": "e", "ts": end_s * 1e6}
