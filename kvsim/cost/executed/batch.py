"""What a step holds, sequence by sequence, and how much of the power budget the steps before it left."""

from dataclasses import dataclass

HEAVY_TOKENS = 512  # prompts' tokens from which a step's products draw more power than the limit sustains
SPENDS_S = 0.05  # so long a chip keeps its full clock above the limit, once it was below it
RECOVERS_S = 0.03  # so long it must be below the limit to do so again


@dataclass(frozen=True, slots=True)
class Batch:
    """One step.

    Attributes:
        kept: tokens that attention reads of each decoding sequence, in a layer and head.
        chunks: (new, past) tokens of each prompt that is read. ends: tokens of the prompts that are complete with it.
        full_clock_s: seconds of heavy work before the power limit holds the clock back.
        width_tokens: of a row of the table of pages; 0 for the next size that replays have graphs of.
    """

    kept: tuple[int, ...] = ()
    chunks: tuple[tuple[int, int], ...] = ()
    ends: tuple[int, ...] = ()
    full_clock_s: float = SPENDS_S
    width_tokens: int = 0


class PowerBudget:
    """Seconds at full clock that are left, of one replica. Mutable."""

    def __init__(self) -> None:
        self.left_s, self._end_s = SPENDS_S, 0.0

    def at(self, now_s: float) -> float:
        """What is left when a step begins now: nothing ran since the last one."""
        return min(SPENDS_S, self.left_s + max(0.0, now_s - self._end_s) * (SPENDS_S / RECOVERS_S))

    def spend(self, start_s: float, end_s: float, prompt_tokens: int) -> None:
        """A step ran."""
        left_s, took_s = self.at(start_s), end_s - start_s
        if prompt_tokens >= HEAVY_TOKENS:
            self.left_s = max(0.0, left_s - took_s)
        else:
            self.left_s = min(SPENDS_S, left_s + took_s * (SPENDS_S / RECOVERS_S))
        self._end_s = end_s
