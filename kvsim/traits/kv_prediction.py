"""A predicted cache: a smaller model reads the prompt, linear maps make the whole cache of its own (KV Prediction)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.dense import body_ops
from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import ACTIVATION_BYTES, elementwise, gemm
from kvsim.cost.op import Op
from kvsim.specs.model import weight_element_bytes
from kvsim.traits.prefill import Ints, Prefill
from kvsim.traits.trait import End


@dataclass(frozen=True)
class PredictedCache(Prefill):
    """An auxiliary model of layers x depth layers, of the model's own shape but with weights of its own.

    Each layer's keys and values are a learned linear map of an auxiliary layer's, made when the prompt is complete; the
    model itself only computes the last position, for the first token.
    """

    layers: float

    def _many(self, geo: Geometry) -> int:
        return max(1, round(self.layers * geo.model.layers))

    def label(self, geo: Geometry, layer: int) -> bool:
        """Auxiliary layers are counted as the first of the model."""
        return layer < self._many(geo)

    def passes(self, geo: Geometry, layer: int) -> float:
        """As many layers as the auxiliary model has."""
        return 1.0 if self.label(geo, layer) else 0.0

    def static_bytes(self, geo: Geometry) -> int:
        """The auxiliary model with its embedding, and two maps a layer, 16 bits."""
        model, widths = geo.model, (geo.kv_heads * geo.key_dim, geo.kv_heads * geo.value_dim)
        layer = model.attention_parameters + model.mlp_parameters(model.ffn)
        body = self._many(geo) * layer * weight_element_bytes(model.dtype)
        own = (body + model.vocab * model.hidden * ACTIVATION_BYTES) / geo.tp
        return int(own) + model.layers * 2 * sum(width**2 for width in widths)

    def held_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """The auxiliary model's cache, which the maps still read as the model's is written."""
        return tokens * (self._many(geo) * 2 * geo.kv_heads * (geo.key_dim + geo.value_dim))

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """The maps, the cache written, and one position through the whole model."""
        layers, prompt = geo.model.layers, np.asarray(end.prompt)[()]
        widths = {"keys": geo.kv_heads * geo.key_dim, "values": geo.kv_heads * geo.value_dim}
        row = ACTIVATION_BYTES * sum(widths.values())
        flops = prompt * (1.0 * geo.decode_flops * geo.query_heads)
        return [
            *(gemm(f"predict_{name}", prompt, width, width, count=layers) for name, width in widths.items() if width),
            elementwise("cache_write_predicted", prompt * (2 * row), 1, layers),
            *body_ops(geo, 1),
            Op("attention_last_position", "attention_decode", "gpu", {"bf16": flops}, prompt * row, 1, layers),
        ]
