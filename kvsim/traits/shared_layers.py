"""Layers that read another layer's rows, and groups of layers whose rows are factored together."""

from dataclasses import dataclass, replace

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.op import Op
from kvsim.traits.encoding import Basis, Ints, Parts, Quantizer
from kvsim.traits.sharing import Sharing
from kvsim.traits.trait import End


@dataclass(frozen=True)
class TiedLayers(Sharing):
    """KVSharer: a share of the layers stores nothing and reads the rows of another, unlike layer.

    Attributes:
        share: of the layers. skips: whether tied layers leave their key and value projections out.
    """

    share: float
    skips: bool = True

    def _tied(self, layers: int) -> int:
        return int(self.share * layers)

    def holders(self, kind: LayerKind) -> int:
        """Those that are not tied. Layers are tied to others that the policy treats alike."""
        return kind.layers - self._tied(kind.layers)

    def segments(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> list[tuple[int, Ints]]:
        """Fewer copies than layers."""
        return [(self.holders(kind), tokens)]

    def unprojected_layers(self, geo: Geometry) -> int:
        """The tied ones."""
        return self._tied(geo.model.layers) if self.skips else 0


@dataclass(frozen=True)
class LayerGroups(Sharing):
    """xKV: one row of factors a token for `group` consecutive layers; generated tokens (class 1) stay in every layer.

    A latent cache (MLA) keeps its rotary part in every layer.
    """

    group: int
    linear = False
    aligned = True

    def segments(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> list[tuple[int, Ints]]:
        """[C, S] tokens: the prompt's once a group, generated ones in each layer."""
        prompt, made = tokens.copy(), tokens.copy()
        prompt[1:], made[:1] = 0, 0
        return [(sum(layer % self.group == 0 for layer in kind.index), prompt), (kind.layers, made)]

    def layer_bytes(self, geo: Geometry, kind: LayerKind, tokens: Ints) -> Ints:
        """The rotary part of a latent row, 16 bits."""
        latent = geo.model.latent
        return tokens * (2 * latent.rope_dim) if latent else np.zeros_like(tokens)


@dataclass(frozen=True)
class GroupFactors(Basis):
    """xKV: rows of `key_rank` and `value_rank` numbers, with bases of every layer that a sequence holds once.

    Keys are factored before RoPE; a step rebuilds keys and values of the prompt (class 0) inside attention.

    Attributes:
        group: layers factored together. heads: kv heads of a layer, which `of_kind` fills in.
        whole: rows at their full width (class 1).
    """

    key_rank: int
    value_rank: int
    group: int
    heads: int = 1
    whole: bool = False
    joint = True
    linear = False

    def of_kind(self, kind: LayerKind) -> Basis:
        """For its kv heads."""
        return replace(self, heads=sum(kind.heads))

    def of_class(self, index: int) -> Basis:
        """Generated tokens are not factored."""
        return replace(self, whole=index == 1)

    def key_dim(self, dim: int) -> int:
        """The rank, or all heads' channels."""
        return self.heads * dim if self.whole else min(self.key_rank, self.group * self.heads * dim)

    def value_dim(self, dim: int) -> int:
        """The same of values."""
        return self.heads * dim if self.whole else min(self.value_rank, self.group * self.heads * dim)

    def bytes(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Rows of one kind."""
        return quantizer.bytes(tokens, self.key_dim(key_dim), self.value_dim(value_dim))

    def sequence_bytes(self, geo: Geometry) -> int:
        """Bases: ranks x width, 16 bits, in each layer."""
        mine = replace(self, heads=geo.kv_heads)
        key, value = geo.kv_heads * geo.key_dim, geo.kv_heads * geo.value_dim
        return 2 * geo.model.layers * (mine.key_dim(geo.key_dim) * key + mine.value_dim(geo.value_dim) * value)

    def rebuilt(self, tokens: Ints) -> Ints:
        """Factored tokens."""
        return np.zeros_like(tokens) if self.whole else tokens

    def rebuild_flops(self, geo: Geometry) -> int:
        """2 rank dim for a key and for a value."""
        mine = replace(self, heads=geo.kv_heads)
        return 2 * (mine.key_dim(geo.key_dim) * geo.key_dim + mine.value_dim(geo.value_dim) * geo.value_dim)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Singular value decompositions of [prompt, group x width] matrices in fp32: 2 tokens width^2 multiply-adds."""
        widths = [self.group * sum(kind.heads) * dim for dim in (geo.key_dim, geo.value_dim)]
        work = end.prompt * (2.0 * sum(float(width) ** 2 for width in widths))
        moved = end.prompt * (8.0 * sum(widths))
        groups = sum(layer % self.group == 0 for layer in kind.index)
        return [Op("group_svd", "elementwise", "gpu", {"alu": work}, moved, 50.0, groups)]
