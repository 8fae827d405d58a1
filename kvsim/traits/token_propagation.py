"""Prefill that lets only chosen tokens go on: FastKV's token-selective propagation."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.dense import body_ops
from kvsim.cost.geometry import Geometry
from kvsim.cost.kernels import attention_prefill, elementwise
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.trait import End


@dataclass(frozen=True)
class Propagation(Prefill):
    """Layers up to `layer` x depth read the whole prompt; those after it, at its end, the `tokens` that matter most.

    Attributes:
        layer: the last layer that sees all, as a share of the depth.
        tokens: that go on (at most); share: of the prompt that goes on, if that is more.
    """

    layer: float = 0.5
    tokens: int = 2048
    share: float = 0.0

    def label(self, geo: Geometry, layer: int) -> bool:
        """Whether a layer sees all."""
        return layer < int(self.layer * geo.model.layers)

    def passes(self, geo: Geometry, layer: int) -> float:
        """All or none of a chunk."""
        return 1.0 if self.label(geo, layer) else 0.0

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """The later layers, for the tokens that go on, causal among themselves."""
        late = geo.model.layers - int(self.layer * geo.model.layers)
        chosen = np.maximum(self.tokens, np.ceil(np.asarray(end.prompt) * self.share))
        tokens = np.minimum(end.prompt, chosen)[()]
        pairs = tokens * (tokens + 1) / 2
        width = 2.0 * geo.kv_heads * (geo.key_dim + geo.value_dim)
        moved = tokens * (geo.query_bytes + width)
        return [
            *(op.times(late / geo.model.layers) for op in body_ops(geo, tokens)),
            attention_prefill(
                "attention_late_layers", pairs * (geo.prefill_flops * geo.query_heads), moved, 1.0, late, {}
            ),
            elementwise("cache_write_late_layers", tokens * (2 * width), 1, late),
        ]
