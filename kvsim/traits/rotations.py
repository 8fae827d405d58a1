"""Bases that rotate: the same channels, mixed so that few bits suffice; reading turns them back."""

from dataclasses import dataclass
from math import log2

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Basis, Ints, Quantizer
from kvsim.traits.trait import Decode


@dataclass(frozen=True)
class Hadamard(Basis):
    """RotateKV: keys before RoPE are rotated over the channels of `heads` kv heads, after a calibrated reordering.

    The way in is folded into the projections, as is the values' rotation both ways; on the way out every cached key is
    reordered, goes through log2(heads x dim) butterflies, and is given its position.
    """

    heads: int = 4
    spans_heads = True
    instructions = 1  # see `work`

    def static_bytes(self, geo: Geometry) -> int:
        """The order of channels, 16 bits each."""
        return 2 * geo.model.layers * geo.kv_heads * geo.key_dim

    def work(self, quantizer: Quantizer, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """A butterfly is an instruction an element; reordering 1, RoPE 3."""
        turned = round(log2(self.heads * key_dim)) + 4
        return quantizer.work(tokens, key_dim, value_dim) + tokens * (key_dim * turned)

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """The new key is rotated before it is rounded, where the fold leaves it to the step."""
        row = sums.sequences * (4.0 * sum(kind.heads) * geo.key_dim)
        work = sums.sequences * (sum(kind.heads) * geo.key_dim * log2(self.heads * geo.key_dim))
        return [elementwise("rotate_new", row, 1, kind.layers, work)]
