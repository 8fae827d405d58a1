"""Seconds of what a policy does when a prompt is complete: tabulated, many prompts at a time."""

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.cacheops import end_ops
from kvsim.cost.op import Num
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Layout

PROMPTS = 1024  # whose ends are priced at once


class PromptEnds:
    """GPU seconds by the prompt's length. Mutable: tables are made when they are first asked for."""

    def __init__(self, layout: Layout, rates: Rates) -> None:
        self.layout, self.rates = layout, rates
        self._tables: dict[int, list[float]] = {}
        self.any = bool(self.priced(np.array([1 << 20]))[0] > 0)

    def seconds(self, prompt: int) -> float:
        """Of one prompt."""
        block = prompt // PROMPTS
        if block not in self._tables:
            self._tables[block] = self.priced(np.arange(block * PROMPTS, (block + 1) * PROMPTS)).tolist()
        return self._tables[block][prompt % PROMPTS]

    def priced(self, prompts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Of prompts [N]."""
        total: Num = np.zeros(len(prompts))
        for op in end_ops(self.layout, prompts):
            total = total + self.rates.seconds(op)
        return np.asarray(total)
