"""Pages of a pool whose neighbours are copied together: where a sequence grows, and the runs that its pages make."""

from collections.abc import Sequence

from kernels_ref.executor.pool import Pages


class RunPages(Pages):
    """Gives a new sequence the middle of the largest gap, so that it can grow in one piece."""

    def take_after(self, last: int | None, many: int) -> list[int]:
        """`many` pages, next to `last` where they are free. Raises RuntimeError where there is no room."""
        self.reserve(many)
        free = set(self._free)
        taken: list[int] = []
        while len(taken) < many:
            if last is None or last + 1 not in free:
                last = self._start(free, many - len(taken)) - 1
            last += 1
            free.discard(last)
            taken.append(last)
        self._free = sorted(free, reverse=True)
        for page in taken:
            self._users[page] = 1
        return taken

    def _start(self, free: set[int], many: int) -> int:
        """Where the largest gap leaves as much room before `many` pages as behind them."""
        gaps = [(many, -first) for _, first, many in runs_of(sorted(free))]
        length, first = max(gaps)
        return -first + max(0, (length - many) // 2)


def runs_of(pages: Sequence[int]) -> list[tuple[int, int, int]]:
    """(place in `pages`, first page, how many) of each run of neighbours."""
    found: list[tuple[int, int, int]] = []
    for at, page in enumerate(pages):
        if found and found[-1][1] + found[-1][2] == page:
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((at, page, 1))
    return found
