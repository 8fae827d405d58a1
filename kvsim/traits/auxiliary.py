"""Auxiliary models that read the prompt beside the model itself."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry
from kvsim.cost.op import Op
from kvsim.traits.prefill import Prefill
from kvsim.traits.trait import End


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
