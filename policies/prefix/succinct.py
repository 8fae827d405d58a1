"""Paging with Succinct Predictions. arXiv:2210.02775, Antoniadis et al., ICML 2023: one bit with each use.

The bit says whether Belady's algorithm, in a cache of this size, would give the block up before it is used again
(the paper's discard predictions). The rule that follows the bits is a plain one; the paper's proofs are not claimed for
it: blocks with the bit go first, least recently used first, and when there are none, all others lose their protection.
With true bits the hits are Belady's. A wrong bit in the middle of a prompt loses the hits on all that follows, so it
matters whether errors come prompt by prompt or block by block.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from kvsim.traits.eviction import Eviction, Future, Order
from kvsim.traits.policy import require


class _Order(Order):
    """`bits`: per use of the sequence, whether to give it up."""

    def __init__(self, future: Future, bits: list[bool]) -> None:
        super().__init__()
        self._at, self._bits = future.at, bits
        self._discard: OrderedDict[int, None] = OrderedDict()
        self._keep: OrderedDict[int, None] = OrderedDict()

    def hold(self, name: int) -> int:
        if name in self._keep:
            del self._keep[name]
        else:
            del self._discard[name]
        return self.idle.pop(name)

    def free(self, name: int, blocks: int) -> None:
        self.idle[name] = self.idle.get(name, 0) + blocks
        (self._discard if self._bits[self._at[name]] else self._keep)[name] = None

    def victim(self) -> int:
        if not self._discard:
            self._discard, self._keep = self._keep, self._discard
        return next(iter(self._discard))

    def given_up(self, name: int, blocks: int, whole: bool) -> None:
        if whole:
            del self._discard[name]


@dataclass(frozen=True)
class Succinct(Eviction):
    """accuracy: probability that a bit is right. prompts: a prompt's bits are wrong together. seed: of the errors."""

    accuracy: float = 0.9
    prompts: bool = True
    seed: int = 0

    title = "Paging with succinct predictions"
    source = "arXiv:2210.02775"
    knows_future = True

    def __post_init__(self) -> None:
        require(0 <= self.accuracy <= 1, f"accuracy must be in [0, 1], but got {self.accuracy}")
        require(self.seed >= 0, f"seed must be at least 0, but got {self.seed}")

    def order(self, capacity_blocks: int, future: Future | None = None) -> Order:
        from kvsim.traces.hitcurve import discarded

        assert future is not None
        each = np.diff(future.pieces.start)  # bits of each prompt
        rng = np.random.default_rng(self.seed)
        wrong = rng.random(len(each) if self.prompts else each.sum()) >= self.accuracy
        if self.prompts:
            wrong = np.repeat(wrong, each)
        return _Order(future, (discarded(future.pieces, capacity_blocks) ^ wrong).tolist())
