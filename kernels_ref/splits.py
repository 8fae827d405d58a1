"""How many CTAs share one row of keys: pure arithmetic, so that the cost model can ask it too.

A row is one (sequence, kv head). Rows alone rarely fill a GPU evenly, so each is cut into splits of whole key blocks.
More splits balance better and pay a start-up per CTA and a merge per split; the choice minimises that sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

SATURATES = 0.5  # a last, partial wave takes at least this share of a full one: fewer CTAs have more bandwidth each
START_BLOCKS = 2.0  # what starting a CTA costs, in units of one key block's time
MERGE_BLOCKS = 0.02  # what one more partial result of a row costs in the merge, same unit
MAX_SPLITS = 256


@dataclass(frozen=True)
class Split:
    """`splits` CTAs a row, each reading `tokens` keys (a whole number of blocks; the last may read fewer)."""

    splits: int
    tokens: int


def ceil_div(a: int, b: int) -> int:
    """Smallest integer not below a / b."""
    return -(-a // b)


def waves(ctas: int, sms: int, ctas_per_sm: int) -> float:
    """The time of `ctas` CTAs, in that of a full load of sms x ctas_per_sm.

    A last, partial load counts by its bytes where multiprocessors hold several CTAs, and fully where they hold one:
    then some of them idle. So does a load that is the only one.
    """
    slots = sms * ctas_per_sm
    if ctas <= slots or ctas_per_sm == 1:
        return ceil_div(ctas, slots)
    rest = ctas % slots / slots
    return ctas // slots + (max(rest, SATURATES) if rest else 0.0)


@cache
def choose(rows: int, tokens: int, block: int, sms: int, ctas_per_sm: int = 2) -> Split:
    """The split of `rows` rows of up to `tokens` keys in blocks of `block` keys over `sms` multiprocessors.

    `ctas_per_sm` is how many of the kernel's CTAs live on one multiprocessor at a time (its registers and shared memory
    say). Zero rows or tokens give one split of one block.
    """
    blocks = max(1, ceil_div(tokens, block))
    best, best_cost = Split(1, blocks * block), float("inf")
    for wanted in range(1, min(blocks, MAX_SPLITS) + 1):
        each = ceil_div(blocks, wanted)
        splits = ceil_div(blocks, each)
        cost = waves(max(rows, 1) * splits, sms, ctas_per_sm) * (each + START_BLOCKS)
        cost += MERGE_BLOCKS * splits + START_BLOCKS if splits > 1 else 0.0
        if cost < best_cost:
            best, best_cost = Split(splits, each * block), cost
    return best


def chunk_blocks(blocks: Sequence[int], sms: int, ctas_per_sm: int = 2) -> int:
    """Most key blocks per CTA when rows are ragged (`blocks` of each row): one bound for all, so that no CTA works
    longer than another; the choice minimises waves x (chunk + start) as `choose` does."""
    slots, total = sms * ctas_per_sm, max(1, sum(blocks))
    best, best_cost = 1, float("inf")
    for quarter in range(3, 21):  # about 0.75 to 5 CTAs a slot
        chunk = max(1, ceil_div(4 * total, slots * quarter))
        ctas = sum(max(1, ceil_div(n, chunk)) for n in blocks)
        cost = waves(ctas, sms, ctas_per_sm) * (total / ctas + START_BLOCKS)
        if cost < best_cost:
            best, best_cost = chunk, cost
    return best
