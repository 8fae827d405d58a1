"""FP8 cache as serving engines have it (vLLM `kv_cache_dtype=fp8`, e4m3, per-layer scales)."""

from dataclasses import dataclass

from kvsim.traits.encoding import Float8
from kvsim.traits.policy import Fidelity, Paper, Traits


@dataclass(frozen=True)
class Fp8(Paper):
    """One byte an element."""

    title = "FP8 KV cache"
    repo = "vllm-project/vllm"

    def traits(self, fidelity: Fidelity) -> Traits:
        """Blocks hold only full tokens, so prefixes are shared as with the full cache."""
        return Traits(quantizer=Float8())
