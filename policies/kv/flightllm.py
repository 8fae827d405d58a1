"""FlightLLM: Efficient Large Language Model Inference with a Complete Mapping Flow on FPGAs. arXiv:2401.03868.

Its compute lanes, pruning and memory channels are those of the chips u280 and vhk158; weights are 4 bits
(weight_dtype=int4). What is left for a policy is the cache: 8-bit keys and values, widened on the fly.
"""

from dataclasses import dataclass

from kvsim.traits.encoding import Quantizer
from kvsim.traits.policy import Fidelity, Paper, Traits


@dataclass(frozen=True)
class Flightllm(Paper):
    """An int8 cache (artifact: every tensor of its intermediate representation is int8)."""

    title = "FlightLLM"
    arxiv = "2401.03868"
    repo = "FlightLLM/flightllm_test_demo"

    def traits(self, fidelity: Fidelity) -> Traits:
        """The artifact fakes nothing: both fidelities are alike."""
        return Traits(quantizer=Quantizer(8))
