"""Which cache executes a policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.paged import Paged
from kvsim.errors import UserError
from kvsim.traits.layout import Layout

MOST_TOKENS = 1 << 20  # of a table's row
WIDTH_TOKENS = tuple(sorted({-(-int(256 * 1.25**i) // 128) * 128 for i in range(38)}))


@dataclass(frozen=True)
class Room:
    """What a cache may take: `pages` of the cost side's blocks, for `sequences` at once of at most `tokens` each.

    `widths`: tokens of a table's row that graphs are captured for.
    """

    pages: int
    sequences: int
    tokens: int
    widths: tuple[int, ...] = WIDTH_TOKENS

    def widths_in(self, page: int) -> list[int]:
        """The widths in pages."""
        return sorted({-(-tokens // page) for tokens in self.widths})


Build = Callable[[Any, Layout, Decoder, Room], Cache]


def _full(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    return Paged(decoder, layout.block_tokens, room.pages, room.widths_in(layout.block_tokens))


def _fp8(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    return Paged(decoder, layout.block_tokens, room.pages, room.widths_in(layout.block_tokens), fp8=True)


CACHES: dict[str, Build] = {"full": _full, "fp8": _fp8}


def cache_of(layout: Layout, decoder: Decoder, room: Room) -> Cache:
    """The cache that executes the layout's policy.

    Raises:
        UserError: a policy that is not executed, or not as it is set.
    """
    policy = layout.policy
    names = [type(paper).__name__.lower() for paper in policy.papers]
    if len(names) != 1 or names[0] not in CACHES:
        raise UserError(f"executor torch does not execute policy {policy.name!r}; it does {', '.join(sorted(CACHES))}")
    if policy.fidelity != "ideal":
        raise UserError("executor torch executes policies at ideal fidelity only")
    return CACHES[names[0]](policy.papers[0], layout, decoder, room)
