"""FastKV: KV Cache Compression for Fast Long-Context Processing with Token-Selective Propagation. arXiv:2502.01068.

Up to the middle all tokens are read; from there on only those that the last queries attend to. Apart from that, every
layer keeps a budget of keys, chosen for each kv head. Code: dongwonjo/FastKV.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.token_propagation import Propagation
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Fastkv(Paper):
    """capacity: prompt tokens kept (repository: 512); window: last queries that vote (8); pool: neighbours (7);
    layer: depth up to which all tokens pass (16 of 32); tokens: that go on from there (2048).
    """

    capacity: int = 512
    window: int = 8
    pool: int = 7
    layer: float = 0.5
    tokens: int = 2048

    title = "FastKV"
    arxiv = "2502.01068"
    repo = "dongwonjo/FastKV"
    knob = "capacity"

    def __post_init__(self) -> None:
        require_window(self.window, self.capacity)
        require(0 < self.layer <= 1, f"layer must be in (0, 1], but got {self.layer}")
        require(self.tokens >= self.capacity, f"tokens must be at least capacity ({self.capacity}), got {self.tokens}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """The released code selects for each kv head as well; both fidelities are one."""
        retention = Budgeted(Budget(self.capacity), WindowVotes(self.window, self.pool))
        return Traits(retention=retention, prefill=Propagation(self.layer, self.tokens), reuse="none")
