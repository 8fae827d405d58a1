"""A Study of Replacement Algorithms for a Virtual-Storage Computer. IBM Systems Journal 1966, Belady: the bound.

Gives up what is used again furthest in the future. A block's next use is never before its prefix's, and of one prompt
the tail counts as later, so what is cached is always whole prefixes: every cached block of a prompt is a hit.
"""

from dataclasses import dataclass

from kvsim.traits.eviction import Eviction, Future, Order, Ranked


class _NextUse(Ranked):
    """Ranks a run by the position of its next use, furthest first; it stays until then, unless it is given up."""

    def __init__(self, future: Future) -> None:
        super().__init__()
        self._at, self._next = future.at, future.pieces.next_use().tolist()
        self._never = len(self._next)

    def rank(self, name: int) -> int:
        at = self._at[name]
        following: int = self._next[at]
        return -following if following < self._never else at - 3 * self._never  # those never used again, oldest first


@dataclass(frozen=True)
class Belady(Eviction):
    """Furthest next use first."""

    title = "Belady's MIN: the bound"
    source = "IBM Systems Journal 1966"
    knows_future = True

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        assert future is not None
        return _NextUse(future)
