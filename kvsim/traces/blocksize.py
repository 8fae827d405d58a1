"""How many tokens a block of ids has: told, or found by holding the numbers of ids against the prompts' lengths."""

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.source import Source
from kvsim.traces.trace import Ints

MAX_BLOCK_TOKENS = 2**20
SIZES = (512, 16, 32, 64, 128, 256, 1024)
_ROUNDINGS = ("up", "down")


class BlockSize:
    """The sizes and roundings that all rows so far fit: tokens / size ids, rounded up in every row, or down in every.

    A wrong size would go unseen and spoil every hit ratio. The first of `sizes` that fits is taken.
    """

    def __init__(self, source: Source, sizes: tuple[int, ...] = SIZES, ids: str = "hash_ids") -> None:
        if len(sizes) > 1 and source.named_block_tokens:
            sizes = (source.named_block_tokens,)
        self._source, self._sizes, self._ids = source, sizes, ids
        self._fits = [(size, rounding) for size in sizes for rounding in _ROUNDINGS]

    def check(self, line: Ints, prompt: Ints, counts: Ints) -> None:
        """Hold some rows against what is left, and leave the size in the source.

        Raises:
            UserError: no size fits all rows.
        """
        left = [fit for fit in self._fits if bool(np.all(_expected(prompt, fit) == counts))]
        if not left:
            wrong = int(np.argmax(_expected(prompt, self._fits[0]) != counts))
            self._refuse(int(line[wrong]), int(prompt[wrong]), int(counts[wrong]))
        self._fits = left
        self._source.block_tokens = left[0][0]

    def check_row(self, line: int, prompt: int, count: int) -> None:
        """The same for one row."""
        self.check(np.array([line]), np.array([prompt]), np.array([count]))

    @property
    def note(self) -> str:
        """What was found."""
        size, rounding = self._fits[0]
        others = sorted({other for other, _ in self._fits} - {size})
        line = f"block size {size} tokens: every row has its prompt / {size} ids, rounded {rounding}"
        return line + (f"; so few rows would fit {', '.join(map(str, others))} as well" if others else "")

    def _refuse(self, line: int, tokens: int, count: int) -> None:
        size = self._fits[0][0]
        others = f", and no other block size of {min(SIZES)} to {max(SIZES)} fits all rows"
        raise UserError(
            f"{self._source.at(line)}: a prompt of {tokens} tokens with {count} {self._ids}: expected "
            f"{-(-tokens // size)} (blocks of {size} tokens){others if len(self._sizes) > 1 else ''}"
        )


def _expected(tokens: Ints, fit: tuple[int, str]) -> Ints:
    size, rounding = fit
    return (tokens + (size - 1 if rounding == "up" else 0)) // size


class Names:
    """Hashes of any kind (64-bit numbers, texts) as numbers from 0, in order of appearance."""

    def __init__(self) -> None:
        self._numbers: dict[int | str, int] = {}

    def number(self, name: int | str) -> int:
        """The same number for the same name."""
        return self._numbers.setdefault(name, len(self._numbers))
