"""Block ids of prompts whose tokens are known."""

from collections.abc import Sequence

import numpy as np

from kvsim.traces.trace import Ints

BLOCK_TOKENS = 16


class TokenBlocks:
    """Numbers blocks so that two have the same id where they and all tokens before them are the same."""

    def __init__(self) -> None:
        self._ids: dict[tuple[int, bytes], int] = {}  # (id of the block before, tokens) -> id

    def ids(self, tokens: Sequence[int] | Ints) -> Ints:
        """Ids of the whole blocks of a prompt."""
        data = np.asarray(tokens, np.int64).tobytes()
        size = BLOCK_TOKENS * 8
        before, found = -1, []
        for at in range(0, len(data) - size + 1, size):
            before = self._ids.setdefault((before, data[at : at + size]), len(self._ids))
            found.append(before)
        return np.array(found, np.int64)
