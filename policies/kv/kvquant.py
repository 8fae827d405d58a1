"""KVQuant: Towards 10 Million Context Length LLM Inference with KV Cache Quantization. arXiv:2401.18079.

Keys per channel before RoPE, values per token, codes that look up a table of their layer; a share of each token's
channels is kept apart, and the first tokens stay at 16 bits. Code: SqueezeAILab/KVQuant, whose kernels are real.
"""

from dataclasses import dataclass

from kvsim.traits.nonuniform import NonUniform
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Kvquant(Paper):
    """bits: of a code (2, 3 or 4); outliers: share of a token's channels kept apart (0.01; 0 for dense codes alone);
    sinks: first tokens at 16 bits (1).
    """

    bits: int = 3
    outliers: float = 0.01
    sinks: int = 1

    title = "KVQuant"
    arxiv = "2401.18079"
    repo = "SqueezeAILab/KVQuant"
    knob = "bits"

    def __post_init__(self) -> None:
        require(self.bits in (2, 3, 4), f"bits must be 2, 3 or 4, but got {self.bits}")
        require(0 <= self.outliers < 0.5, f"outliers must be in [0, 0.5), but got {self.outliers}")
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: what its tables and sparse rows take is counted in both."""
        return Traits(quantizer=NonUniform(self.bits, self.outliers, self.sinks), reuse="none")
