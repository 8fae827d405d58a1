"""A pyramid of tokens: fewer of a prompt reach each deeper layer, as queries agree on what matters (PyramidInfer)."""

from collections.abc import Hashable
from dataclasses import dataclass
from math import cos, pi

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Chunk, Decode


def falling(layer: int, many: int, least: float) -> float:
    """From 1 at the first layer to nearly `least` at the last, half a cosine."""
    return (1 - least) * (cos(pi * layer / many) + 1) / 2 + least


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
        recent = np.floor(self.recent * prompt).astype(np.int64)
        before = prompt - recent - 1
        found = [prompt]
        for layer in range(many - 1):
            if layer % self.interval == 0:
                cut = np.floor(before * falling(layer, many, self.decay)).astype(np.int64)
                before = np.where(cut > self.least, cut, before)
            found.append(before + recent + 1)
        return np.stack(found)

    def _blocks(self, kinds: tuple[LayerKind, ...], many: int) -> Ints:
        """Tokens that each kind keeps of a block of generated ones [G, 1]."""
        shares = [falling(kind.index[0], many, self.generated) for kind in kinds for _ in kind.heads]
        return np.array([[max(1, int(self.every * self.keep * share))] for share in shares], np.int64)

    def _tokens(self, prompt: int | Ints, made: Ints, kinds: tuple[LayerKind, ...], beyond: Ints) -> Ints:
        many = sum(kind.layers for kind in kinds)
        layers = [kind.index[0] for kind in kinds for _ in kind.heads]
        begun = self.lengths(np.atleast_1d(np.asarray(prompt)), many)[layers]
        found: Ints = (begun + made // self.every * self._blocks(kinds, many) + beyond)[:, None]
        return found

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """What reached a layer, thinned blocks, and the tokens since."""
        made = context - prompt
        return self._tokens(prompt, made, kinds, made % self.every)

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """At least what was there before a block was thinned."""
        made = context - prompt
        now = self.kept(prompt, context, kinds)
        whole = np.full_like(made, self.every - 1)
        before = self._tokens(prompt, np.maximum(made - self.every, 0), kinds, whole)
        found: Ints = np.where(made >= self.every, np.maximum(now, before), now)
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
        return [Op("recent_scores", "attention_prefill", "gpu", {"bf16": flops}, sums, 1, kind.layers), gather]

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
