"""Which replica a request goes to."""

from kvsim.engine.replica import Replica
from kvsim.engine.serving import Routing
from kvsim.traces.trace import Sessions


class Router:
    """How requests are spread.

    round_robin takes turns; least_tokens picks the replica with the fewest prompt tokens of unfinished requests;
    session does so for the first request of a session and sends the others after it.
    """

    def __init__(self, replicas: list[Replica], routing: Routing, sessions: Sessions | None = None) -> None:
        self._replicas, self._routing, self._turn = replicas, routing, 0
        self._session = sessions.id if sessions else None
        self._home: dict[int, Replica] = {}

    def choose(self, index: int) -> Replica:
        """The replica for request `index`, which arrives now; the first of equals."""
        if len(self._replicas) == 1:
            return self._replicas[0]
        if self._routing == "round_robin":
            replica = self._replicas[self._turn % len(self._replicas)]
            self._turn += 1
            return replica
        if self._routing == "least_tokens" or self._session is None:
            return self._least()
        session = int(self._session[index])
        if session not in self._home:
            self._home[session] = self._least()
        return self._home[session]

    def _least(self) -> Replica:
        return min(self._replicas, key=lambda replica: replica.outstanding_tokens)
