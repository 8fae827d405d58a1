"""A pyramid of tokens: fewer of a prompt reach each deeper layer, as queries agree on what matters (PyramidInfer)."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache
from math import cos, pi

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Chunk, Decode

TABULATED = 1 << 17  # tokens of a prompt, up to which lengths are looked up


def falling(layer: int, many: int, least: float) -> float:
    """From 1 at the first layer to nearly `least` at the last, half a cosine."""
    return (1 - least) * (cos(pi * layer / many) + 1) / 2 + least


def _lengths(prompt: Ints, many: int, recent: float, decay: float, interval: int, least: int) -> Ints:
    newest = np.floor(recent * prompt).astype(np.int64)
    before = prompt - newest - 1
    found = [prompt]
    for layer in range(many - 1):
        if layer % interval == 0:
            cut = np.floor(before * falling(layer, many, decay)).astype(np.int64)
            before = np.where(cut > least, cut, before)
        found.append(before + newest + 1)
    return np.stack(found)


@cache
def _table(size: int, many: int, recent: float, decay: float, interval: int, least: int) -> Ints:
    """Of prompts of 0, 1, 2, ... size - 1 tokens: replays ask for each prompt apart."""
    return _lengths(np.arange(size), many, recent, decay, interval, least)


@cache
def _of_blocks(kinds: tuple[LayerKind, ...], every: int, keep: float, least: float) -> tuple[Ints, Ints]:
    """(layers, tokens that each keeps of a block of generated ones) by group: [G] and [G, 1]."""
    many = sum(kind.layers for kind in kinds)
    layers = [kind.index[0] for kind in kinds for _ in kind.heads]
    left = [[max(1, int(every * keep * falling(layer, many, least)))] for layer in layers]
    return np.array(layers, np.int64), np.array(left, np.int64)


@dataclass(frozen=True)
class PyramidKept(Retention):
    """Each `interval` layers, of the tokens before the newest `recent` x prompt, a falling share goes on.

    Of each `every` generated tokens a layer keeps keep x every, falling with depth from all of those to `generated`.

    Attributes:
        decay: the last layer's share of what the layer before it had. least: tokens below which nothing is cut.
        writes_scores: attention leaves its score matrix to memory, and the cache is copied where it is cut (released).
    """

    recent: float = 0.2
    decay: float = 0.9
    interval: int = 1
    least: int = 64
    every: int = 16
    keep: float = 0.9
    generated: float = 0.1
    writes_scores: bool = False
    aligned = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """Generated tokens are thinned in blocks."""
        return self.every

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer has its own tokens."""
        return layer

    def lengths(self, prompt: Ints, many: int) -> Ints:
        """Tokens of a prompt [...] that reach each of `many` layers: [many, ...]."""
        size = 1 << max(12, int(prompt.max()).bit_length())
        if size > TABULATED:
            return _lengths(prompt, many, self.recent, self.decay, self.interval, self.least)
        return _table(size, many, self.recent, self.decay, self.interval, self.least)[:, prompt]

    def _thinned(self, prompt: int | Ints, made: Ints, kinds: tuple[LayerKind, ...]) -> tuple[Ints, Ints]:
        """(tokens without those since the last block, tokens that a block leaves) by group: [G, S] and [G, 1]."""
        layers, left = _of_blocks(kinds, self.every, self.keep, self.generated)
        many = sum(kind.layers for kind in kinds)
        begun = self.lengths(np.atleast_1d(np.asarray(prompt)), many)[layers]
        return begun + made // self.every * left, left

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """What reached a layer, thinned blocks, and the tokens since."""
        made = context - prompt
        found: Ints = (self._thinned(prompt, made, kinds)[0] + made % self.every)[:, None]
        return found

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """At least what was there before a block was thinned."""
        made = context - prompt
        thinned, left = self._thinned(prompt, made, kinds)
        before = np.where(made >= self.every, self.every - 1 - left, 0)
        found: Ints = (thinned + np.maximum(made % self.every, before))[:, None]
        return found

    def start(self, prompt: int) -> int | None:
        """Blocks begin at the prompt's end."""
        return None

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Scores of the newest queries once more, summed by column; top-k; hidden states that go on are gathered."""
        gather = elementwise("gather_hidden", chunk.new * (4.0 * geo.model.hidden), 2, kind.layers)
        if self.writes_scores:
            moved = chunk.pairs * geo.query_heads * 4.0 * 4
            return [elementwise("score_matrix", moved, 4, kind.layers), gather]
        share = 1 - (1 - self.recent) ** 2  # of a prompt's pairs, those of its newest queries
        flops = chunk.pairs * (2.0 * share * geo.key_dim * geo.query_heads)
        sums = chunk.new * 8.0
        return [Op("recent_scores", "column_sums", "gpu", {"bf16": flops}, sums, 1, kind.layers), gather]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores leave the attention kernel; a block is thinned every so many steps, spread evenly over them."""
        ops = [elementwise("export_scores", sums.tokens * (2.0 * geo.queries_per_kv_head), 1, kind.layers)]
        share = 1 / self.every
        rows = sums.sequences * (4.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim))
        moved = 2 * sums.kv_bytes * share if self.writes_scores else rows
        return [*ops, elementwise("thin_block", moved, 3 * share, kind.layers)]


@dataclass(frozen=True)
class PyramidPrefill(Prefill):
    """Layers see the shares of a long prompt that `PyramidKept` lets reach them; of each chunk as of the whole."""

    recent: float = 0.2
    decay: float = 0.9
    interval: int = 1

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Each layer has its own share."""
        return layer

    def passes(self, geo: Geometry, layer: int) -> float:
        """The newest tokens, and what the layers before let go on of the others."""
        share = 1.0
        for before in range(0, layer, self.interval):
            share *= falling(before, geo.model.layers, self.decay)
        return self.recent + (1 - self.recent) * share
