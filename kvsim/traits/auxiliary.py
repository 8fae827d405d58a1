"""Auxiliary models that read the prompt beside the model itself."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.dense import body_ops
from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import attention_prefill, elementwise, weights_read
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.trait import Chunk, End


@dataclass(frozen=True)
class Classifier(Prefill):
    """WindowKV: an encoder as large as BERT-base tells the task from the first tokens of a prompt.

    Attributes:
        parameters: of the encoder (BERT-base: 110 million). tokens: that it reads at most (512).
    """

    parameters: int = 110_000_000
    tokens: int = 512

    def static_bytes(self, geo: Geometry) -> int:
        """Its weights at 16 bits."""
        return 2 * self.parameters

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """One pass: two FLOPs a parameter and token, the weights read once, some ten kernels in each of 12 layers."""
        read = np.minimum(end.prompt, self.tokens)[()]
        return [Op("classifier", "gemm", "gpu", {"bf16": read * (2.0 * self.parameters)}, 2.0 * self.parameters, 120)]


@dataclass(frozen=True)
class Draft(Prefill):
    """A small model reads the prompt in the large one's stead; the large one reads `tokens` of it at its end.

    Attributes:
        size: of the small model, as a share of the large one's layers' weights, arithmetic and attention.
        tokens: that the large model reads (at least the last one). sparse: share of query-key pairs that it attends to
            where it reads the prompt itself; 0 where it does not.
        maps: linear maps make every layer's keys and values from the small model's (KV Prediction).
        lookahead: tokens that the small model generates to choose by (SpecKV).
    """

    size: float
    tokens: int = 1
    sparse: float = 0.0
    maps: bool = False
    lookahead: int = 0

    def passes(self, geo: Geometry, layer: int) -> float:
        """All or none, while the prompt is read."""
        return 1.0 if self.sparse else 0.0

    def attends(self, geo: Geometry, layer: int) -> float:
        """The share of pairs."""
        return self.sparse

    def _weights(self, geo: Geometry) -> float:
        model = geo.model
        embedding = model.vocab * model.hidden * (1 if model.tied_embeddings else 2)
        return self.size * (model.parameters - embedding) / geo.tp

    def static_bytes(self, geo: Geometry) -> int:
        """The small model's weights and the maps, 16 bits."""
        width = geo.kv_heads * (geo.key_dim + geo.value_dim)
        maps = geo.model.layers * width**2 * self.size if self.maps else 0.0
        return int(2 * (self._weights(geo) + maps))

    def reading_ops(self, geo: Geometry, chunk: Chunk) -> list[Op]:
        """The small model's pass over a chunk, and the maps."""
        layers, width = geo.model.layers, geo.kv_heads * (geo.key_dim + geo.value_dim)
        flops = chunk.new * (2.0 * self._weights(geo))
        attention = chunk.pairs * (geo.prefill_flops * geo.query_heads * layers * self.size)
        moved = chunk.new * (40.0 * geo.model.hidden * layers * self.size)
        ops = [
            weights_read("draft_weights", 2.0 * self._weights(geo), 1),
            Op("draft_layers", "gemm", "gpu", {"bf16": flops}, moved, 8.0 * layers * self.size**0.5),
            Op("draft_attention", "attention_prefill", "gpu", {"bf16": attention}, moved / 5, layers * self.size**0.5),
        ]
        if self.maps:
            rows = chunk.new * (2.0 * width * (1 + self.size))
            products = {"bf16": chunk.new * (2.0 * width**2 * self.size)}
            ops.append(Op("map_keys_and_values", "gemm", "gpu", products, rows, 2, layers))
        return ops

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """What the large model reads, if it has not read the prompt; the small one's look-ahead."""
        ops = []
        if not self.sparse:
            tokens = np.minimum(end.prompt, self.tokens)[()]
            pairs, late = tokens * (tokens + 1) / 2, geo.model.layers
            row = 2.0 * geo.kv_heads * (geo.key_dim + geo.value_dim)
            flops = pairs * (geo.prefill_flops * geo.query_heads)
            ops += body_ops(geo, tokens)
            ops.append(attention_prefill("attention_chosen", flops, tokens * (geo.query_bytes + row), 1.0, late, {}))
            ops.append(elementwise("cache_write_chosen", tokens * (2 * row), 1, late))
        if self.lookahead:
            ops.append(weights_read("draft_lookahead", 2.0 * self._weights(geo), self.lookahead))
        return ops


@dataclass(frozen=True)
class ImportantPairs(Prefill):
    """ZipVL: every token passes, but attention runs among the important ones only, `share` of them in each layer."""

    share: float

    def attends(self, geo: Geometry, layer: int) -> float:
        """Both of a pair must be important."""
        return self.share**2
