"""Token classes: all tokens stay, sorted into classes that are encoded apart."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.scorers import POSITIONS, Scorer
from kvsim.traits.trait import Chunk, Decode, End


@dataclass(frozen=True)
class Phases(Retention):
    """Class 0: the prompt's tokens; class 1: generated ones."""

    classes = 2

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """All of both."""
        both = np.stack(np.broadcast_arrays(prompt, context - prompt))
        return np.broadcast_to(both, (sum(len(kind.heads) for kind in kinds), *both.shape))

    def start(self, prompt: int) -> int | None:
        """Both are counted."""
        return None


@dataclass(frozen=True)
class Importance(Retention):
    """MiKV: class 0 is a share of the tokens, those that matter most; class 1 the others, at fewer bits.

    Each step demotes a token for the new one. Queries and keys are balanced by a factor a channel.

    Attributes:
        recent: share of the important tokens that are the newest; the others draw most attention, as in H2O.
    """

    share: float
    scorer: Scorer = POSITIONS
    recent: float = 0.5
    classes = 2
    by_head = True
    aligned = False

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """ceil(share x tokens), and the rest."""
        important = np.ceil(self.share * context).astype(np.int64)
        both = np.stack([important, context - important])
        return np.broadcast_to(both, (sum(len(kind.heads) for kind in kinds), *both.shape))

    def slot_bytes(self, geo: Geometry) -> int:
        """The scorer's."""
        return self.scorer.slot_bytes(geo)

    def sequence_bytes(self, geo: Geometry) -> int:
        """The balancer: an fp16 factor for each channel of each head's keys."""
        return 2 * geo.model.layers * geo.kv_heads * geo.key_dim

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """One kernel a class."""
        return 1.0

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """The scorer's."""
        return self.scorer.chunk_ops(geo, kind, chunk)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The balancer's maxima, top-k, and the sorting of rows into classes."""
        rows = elementwise("sort_by_importance", end.prompt * (4.0 * sum(kind.heads) * geo.key_dim), 4, kind.layers)
        return [*self.scorer.end_ops(geo, kind, end), rows]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores, and one token demoted in each head."""
        row = sums.sequences * (3.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim))
        return [*self.scorer.decode_ops(geo, kind, sums), elementwise("demote_token", row, 2, kind.layers)]


@dataclass(frozen=True)
class Salience(Retention):
    """ZipCache: classes salient, other, newest. The newest wait until `gap` of them are coded together with all.

    Attributes:
        share: of coded tokens that are salient. probes: share of queries whose attention is computed once more.
    """

    share: float
    gap: int
    probes: float
    classes = 3
    aligned = False  # a token's class differs from layer to layer

    @property
    def period(self) -> int:  # type: ignore[override]
        """Tokens are coded in blocks."""
        return self.gap

    def _tokens(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...], newest: Ints) -> Ints:
        coded = context - (context - prompt) % self.gap
        layers = [kind.index[0] for kind in kinds for _ in kind.heads]
        shares = self.shares(sum(kind.layers for kind in kinds))
        each = np.array([shares[layer] for layer in layers]).reshape(-1, *[1] * np.ndim(coded))
        salient = np.floor(each * coded + 1e-6).astype(np.int64)  # shares are quotients of whole numbers
        return np.stack(np.broadcast_arrays(salient, coded - salient, newest), axis=1)

    def shares(self, layers: int) -> tuple[float, ...]:
        """By layer."""
        return (self.share,) * layers

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """The prompt is coded at its end, generated tokens `gap` at a time."""
        return self._tokens(prompt, context, kinds, (context - prompt) % self.gap)

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """With room for `gap` of the newest."""
        return self._tokens(prompt, context, kinds, np.full_like(context, self.gap) * (context > prompt))

    def start(self, prompt: int) -> int | None:
        """Blocks begin at the prompt's end."""
        return None

    def alike(self, prompt: int) -> Hashable:
        """Each prompt has its own curve."""
        return prompt

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Probe queries' scores, normalized by how many queries see a token; their sums are written."""
        flops = chunk.pairs * (2.0 * self.probes * geo.key_dim * geo.query_heads)
        return [Op("probe_scores", "column_sums", "gpu", {"bf16": flops}, chunk.new * 8.0, 1, kind.layers)]

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Top-k, ranges, and codes of all rows."""
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        return [elementwise("code_rows", end.prompt * (6.0 * width), 6, kind.layers, end.prompt * (6.0 * width))]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """All tokens are decoded and coded again every `gap` steps; spread evenly over the steps between."""
        full = sums.kept * (4.0 * (geo.key_dim + geo.value_dim))
        again = elementwise("code_again", (2 * sums.kv_bytes + full) / self.gap, 8 / self.gap, kind.layers)
        scores = sums.kept * (2.0 * geo.queries_per_kv_head * self.probes)
        return [again, elementwise("probe_scores", scores, 2 * self.probes, kind.layers)]


@dataclass(frozen=True)
class ByClass(Quantizer):
    """A quantizer for each token class, in order; counts and instructions are theirs.

    Attributes:
        block: tokens that are coded at once: the period of bytes.
        joint: whether they have metadata that the kv heads of a layer share.
    """

    each: tuple[Quantizer, ...] = ()
    block: int = 1
    joint: bool = False
    instructions = 6
    linear = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """Of the block."""
        return self.block

    def of_class(self, index: int) -> Quantizer:
        """As listed."""
        return self.each[index]


@dataclass(frozen=True)
class SeparableCodes(Quantizer):
    """ZipCache: keys per channel, values per token once each channel was divided by a factor of its own.

    An fp16 scale and minimum for each channel of the keys and a factor for each of the values, once a sequence and kv
    head; a scale and minimum for each token's values, and an fp32 score of the probes since the last coding, for all kv
    heads of a layer. Classes lie apart, so that nothing says which a token is of.
    """

    bits: int = 4
    joint = True
    instructions = 6
    linear = False

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Codes of a kv head, and its channels' figures."""
        channels = (4 * key_dim + 2 * value_dim) * (tokens > 0)
        return Parts(packed(tokens, key_dim, self.bits), packed(tokens, value_dim, self.bits), channels)

    def layer_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """Each token's scale and minimum, and its score."""
        return 8 * tokens

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Whole pages."""
        found: Ints = self.bytes(-(-tokens // block) * block, key_dim, value_dim).total
        return found


@dataclass(frozen=True)
class Uncoded(Quantizer):
    """ZipCache's newest tokens: 16 bits, and their scores so far."""

    joint = True

    def layer_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """An fp32 score for all kv heads."""
        return 4 * tokens
