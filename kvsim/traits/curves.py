"""Curves of a layout's rows over the decode steps of a sequence: made far ahead, or for several requests at a time.

Where decoding depends on the prompt's length only by where it starts, one curve serves all; otherwise prompts that
decode alike share one, and those used last are kept.
"""

from collections import deque
from collections.abc import Callable, Hashable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from kvsim.traits.retention import Retention

Ints = NDArray[np.int64]
GROW = 4096  # columns that a curve is made beyond what was asked for
KEPT = 1 << 23  # figures of curves of prompts that decode unlike each other
AHEAD = 16  # requests whose curves are made together: about what stays in a processor's cache


class Curves:
    """Rows [rows, steps] after a prompt.

    `columns(prompt, contexts)` makes those of one prompt, `rows_at(prompts, contexts)` those of several.
    """

    def __init__(
        self,
        retention: Retention,
        rows: int,
        columns: Callable[[int, Ints], Ints],
        rows_at: Callable[[Ints, Ints], Ints],
    ) -> None:
        self._retention, self._rows, self._columns, self._rows_at = retention, rows, columns, rows_at
        self._one: Ints = np.zeros((rows, 0), np.int64)
        self._each: dict[Hashable, Ints] = {}
        self._kept_columns = 0
        self._coming: deque[tuple[int, int]] = deque()  # (prompt, steps) of requests to come

    def expect(self, prompts: Ints, outputs: Ints) -> None:
        """Requests in the order in which they come: curves of their own are then made several at a time."""
        if self._retention.start(1) is None:
            self._coming = deque(zip(prompts.tolist(), (outputs - 1).tolist(), strict=True))

    def after(self, prompt: int, steps: int) -> Ints:
        """The rows of `steps` decode steps: contexts prompt + 1 ... prompt + steps."""
        start = self._retention.start(prompt)
        if start is None:
            return self._own(prompt, steps)
        end = start + steps + 1
        if end > self._one.shape[1]:
            self._one = self._columns(0, np.arange(max(end + GROW, 2 * self._one.shape[1])))
        return self._one[:, start + 1 : end]

    def _own(self, prompt: int, steps: int) -> Ints:
        key = self._retention.alike(prompt)
        if self._known(key) < steps:
            self._make_ahead(prompt, steps)
        curve = self._each.pop(key, None)
        if curve is None or curve.shape[1] < steps:
            had = 0 if curve is None else curve.shape[1]
            more = 2 * steps if had else steps
            curve = self._columns(prompt, np.arange(prompt + 1, prompt + more + 1))
            self._kept_columns += more - had
        self._each[key] = curve  # the last used is the last
        while self._kept_columns * self._rows > KEPT and len(self._each) > 1:
            self._kept_columns -= self._each.pop(next(iter(self._each))).shape[1]
        return curve[:, :steps]

    def _make_ahead(self, prompt: int, steps: int) -> None:
        """Curves of an expected prompt and of those that come next, if it is one."""
        coming = self._coming
        if (prompt, steps) not in islice(coming, AHEAD):
            return
        while coming.popleft() != (prompt, steps):
            pass
        batch = {self._retention.alike(prompt): (prompt, steps)}
        for _ in range(min(len(coming), AHEAD)):
            one, more = coming.popleft()
            key = self._retention.alike(one)
            if more > self._known(key) and batch.get(key, (0, 0))[1] < more:
                batch[key] = (one, more)
        many = np.array([more for _, more in batch.values()])
        before = np.repeat(np.cumsum(many) - many, many)
        each = np.repeat(np.array([one for one, _ in batch.values()]), many)
        rows = self._rows_at(each, each + np.arange(1, len(each) + 1) - before)
        self._kept_columns += rows.shape[1] - sum(map(self._known, batch))
        self._each |= dict(zip(batch, np.split(rows, np.cumsum(many)[:-1], axis=1), strict=True))

    def _known(self, key: Hashable) -> int:
        """Steps of a curve that is kept."""
        curve = self._each.get(key)
        return 0 if curve is None else curve.shape[1]
