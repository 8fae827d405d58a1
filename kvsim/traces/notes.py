"""Notes of a trace that is made from others: theirs, what was done, and what follows from the new columns."""

from collections.abc import Iterable
from dataclasses import replace

from kvsim.traces.read import derived_notes
from kvsim.traces.trace import Trace


def own_notes(trace: Trace) -> list[str]:
    """The notes of a trace that do not follow from its columns."""
    derived = derived_notes(trace)
    return [note for note in trace.notes if note not in derived]


def noted(made: Trace, sources: Iterable[Trace], *lines: str) -> Trace:
    """`made` with the own notes of its sources, each once, then `lines`, then what follows from its columns."""
    own = dict.fromkeys(note for source in sources for note in own_notes(source))
    made = replace(made, notes=(*own, *lines))
    return replace(made, notes=(*made.notes, *derived_notes(made)))
