"""Which cache executes a policy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.h2o import H2o
from kernels_ref.executor.hosted import Hosted
from kernels_ref.executor.kivi import Kivi
from kernels_ref.executor.paged import Paged
from kernels_ref.executor.snapkv import Snapkv
from kernels_ref.executor.streaming import Streaming
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


def _streaming(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    widths = room.widths_in(layout.block_tokens)
    return Streaming(decoder, layout.block_tokens, room.pages, widths, paper.sinks, paper.window)


def _snapkv(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    widths = room.widths_in(layout.block_tokens)
    return Snapkv(decoder, layout.block_tokens, room.pages, widths, paper.capacity, paper.window)


def _h2o(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    widths = room.widths_in(layout.block_tokens)
    return H2o(decoder, layout.block_tokens, room.pages, widths, paper.heavy, paper.recent)


def _kivi(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    if paper.residual != 128 or paper.bits not in (2, 4):
        raise UserError("executor torch packs kivi's blocks of 128 tokens at 2 or 4 bits; leave residual at 128")
    page = layout.block_tokens
    rows = room.sequences + max(room.sequences // 4, 32)  # batches are padded to the sizes of graphs
    return Kivi(decoder, page, room.pages, room.widths_in(page), rows, paper.bits, paper.group)


def _headinfer(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    widths = room.widths_in(layout.block_tokens)
    heads = getattr(paper, "heads", 1)
    return Hosted(decoder, layout.block_tokens, room.pages, widths, heads, paper.buffers)


def _offload(paper: Any, layout: Layout, decoder: Decoder, room: Room) -> Cache:
    widths = room.widths_in(layout.block_tokens)
    return Hosted(decoder, layout.block_tokens, room.pages, widths, decoder.shape.kv_heads, paper.buffers)


CACHES: dict[str, Build] = {
    "fp8": _fp8,
    "full": _full,
    "h2o": _h2o,
    "headinfer": _headinfer,
    "kivi": _kivi,
    "offload": _offload,
    "snapkv": _snapkv,
    "streaming": _streaming,
}


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
