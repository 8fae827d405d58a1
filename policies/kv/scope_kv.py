"""SCOPE: Optimizing Key-Value Cache Compression in Long-context Generation. arXiv:2412.13649, Linking-ai/SCOPE.

The prompt's cache is cut once and then left alone; generated tokens have a budget of their own.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.two_phases import STRATEGIES, TwoPhases
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class ScopeKv(Paper):
    """capacity: prompt tokens kept (repository: 2048); window: last queries that vote (8); strategy: slide, adaptive or
    discontinuous; decoding: generated tokens kept (512 or 1024); recent: newest of them (256); delta: steps for which
    the adaptive budget grows by one token (15).
    """

    capacity: int = 2048
    window: int = 8
    strategy: str = "adaptive"
    decoding: int = 1024
    recent: int = 256
    delta: int = 15

    title = "SCOPE"
    arxiv = "2412.13649"
    repo = "Linking-ai/SCOPE"
    knob = "capacity"

    def __post_init__(self) -> None:
        require(
            self.strategy in STRATEGIES, f"strategy must be one of {', '.join(STRATEGIES)}, but got {self.strategy!r}"
        )
        require(
            0 < self.recent <= self.decoding,
            f"recent must be in (0, decoding], but got {self.recent} of {self.decoding}",
        )
        require(self.delta >= 1, f"delta must be at least 1, but got {self.delta}")
        require(
            self.capacity > self.window >= 1,
            f"capacity must be more than window ({self.window}), but got {self.capacity}",
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: the decode segment is gathered whenever it is chosen anew."""
        scorer = WindowVotes(self.window)
        numbers = (self.decoding, self.recent, self.delta)
        return Traits(retention=TwoPhases(self.capacity, scorer, self.strategy, *numbers), reuse="none")
