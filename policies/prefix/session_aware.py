"""Sessions that go on keep their blocks. After KVFlow (arXiv:2507.07400), which gives up first what is needed latest.

KVFlow knows an agent's next step from its workflow. Here a session's next turn is expected one mean gap after its last
one: the mean of its own gaps, or of all sessions' as long as it has none. Gaps count the requests in between. A session
that is late by more than `patience` mean gaps is taken to have ended. What ended longest ago goes first, then the
session whose turn is expected latest; of one session, what was used least recently. A run that several sessions used
belongs to the one that is expected soonest.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush

from kvsim.traits.eviction import Eviction, Future, Order
from kvsim.traits.policy import require


@dataclass(slots=True)
class _Session:
    """Times count requests. `runs`: its idle runs, least recently used first."""

    number: int
    request: int
    last: int
    turns: int = 0
    gaps: int = 0
    expected: float = 0.0
    deadline: float = 0.0
    runs: OrderedDict[int, None] = field(default_factory=OrderedDict)


class _Order(Order):
    """Sessions by the end of the patience with them, and by their next turn."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._patience = patience
        self._now = self._turns = self._gaps = 0
        self._sessions: dict[int, _Session] = {}
        self._owner: dict[int, _Session] = {}  # of each cached run
        self._deadlines: list[tuple[float, int]] = []  # heaps; stale entries stay until they come up
        self._expected: list[tuple[float, int]] = []
        self._current = _Session(-1, -1, 0)

    def turn(self, session: int, request: int) -> None:
        self._now += 1
        found = self._sessions.get(session)
        if found is None:
            self._sessions[session] = found = _Session(session, request, self._now)
        elif found.request != request:
            found.turns, found.gaps = found.turns + 1, found.gaps + self._now - found.last
            self._turns, self._gaps = self._turns + 1, self._gaps + self._now - found.last
        turns, gaps = (found.turns, found.gaps) if found.turns else (self._turns, self._gaps)
        mean = gaps / turns if turns else 0.0
        found.request, found.last = request, self._now
        found.expected, found.deadline = self._now + mean, self._now + (1 + self._patience) * mean
        heappush(self._deadlines, (found.deadline, session))
        heappush(self._expected, (-found.expected, session))
        self._current = found

    def hold(self, name: int) -> int:
        del self._owner[name].runs[name]
        return self.idle.pop(name)

    def forget(self, name: int) -> int:
        found = self.hold(name)
        del self._owner[name]
        return found

    def free(self, name: int, blocks: int) -> None:
        owner, current = self._owner.get(name), self._current
        if owner is not None:
            owner.runs.pop(name, None)
        if owner is None or owner.deadline < self._now or current.expected <= owner.expected:
            self._owner[name] = owner = current
        owner.runs[name] = None
        self.idle[name] = self.idle.get(name, 0) + blocks
        if len(owner.runs) == 1 and owner is not current:  # its entries may have been dropped when it had none
            heappush(self._deadlines, (owner.deadline, owner.number))
            heappush(self._expected, (-owner.expected, owner.number))

    def victim(self) -> int:
        heap = self._deadlines
        while heap:
            deadline, number = heap[0]
            session = self._sessions[number]
            if session.deadline == deadline and session.runs:
                if deadline < self._now:
                    return next(iter(session.runs))
                break
            heappop(heap)
        heap = self._expected
        while True:
            expected, number = heap[0]
            session = self._sessions[number]
            if session.expected == -expected and session.runs:
                return next(iter(session.runs))
            heappop(heap)

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        if whole:
            del self._owner.pop(name).runs[name]


@dataclass(frozen=True)
class SessionAware(Eviction):
    """patience: mean gaps that a session may be late by before it counts as ended."""

    patience: float = 0.0

    title = "Sessions expected soonest stay"
    source = "arXiv:2507.07400"
    needs_sessions = True

    def __post_init__(self) -> None:
        require(0 <= self.patience < float("inf"), f"patience must be at least 0, but got {self.patience}")

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        return _Order(self.patience)
