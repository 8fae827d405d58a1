"""Which replica a request goes to."""

from kvsim.engine.replica import Replica
from kvsim.engine.serving import Routing


class Router:
    """round_robin takes turns; least_tokens picks the replica with the fewest prompt tokens of unfinished requests."""

    def __init__(self, replicas: list[Replica], routing: Routing) -> None:
        self._replicas, self._by_tokens, self._turn = replicas, routing == "least_tokens", 0

    def choose(self) -> Replica:
        """The replica for the request that arrives now; the first of equals."""
        if len(self._replicas) == 1:
            return self._replicas[0]
        if self._by_tokens:
            return min(self._replicas, key=lambda replica: replica.outstanding_tokens)
        replica = self._replicas[self._turn % len(self._replicas)]
        self._turn += 1
        return replica
