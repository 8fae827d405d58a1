"""More Tokens, Lower Precision: the Token-Precision Trade-off in KV Cache Compression. arXiv:2412.12706.

A budget of bytes is spent on more tokens at fewer bits: SnapKV's choice of the prompt, then codes; generated tokens
stay at 16 bits. Code: zhzihao/QPruningKV.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.classes import ByClass
from kvsim.traits.encoding import Quantizer
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import TokenQuantizer
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Qpruningkv(Paper):
    """budget: tokens of a layer at 16 bits; as many bytes hold 16 / bits times as many (128 to 2048); bits: of a code
    (2, 4 or 8); group: channels that share a scale (64); window: last queries that vote (8).
    """

    budget: int = 512
    bits: int = 4
    group: int = 64
    window: int = 8

    title = "QPruningKV"
    arxiv = "2412.12706"
    repo = "zhzihao/QPruningKV"
    knob = "budget"

    def __post_init__(self) -> None:
        require(self.bits in (2, 4, 8), f"bits must be 2, 4 or 8, but got {self.bits}")
        require(
            self.budget > self.window >= 1, f"budget must be more than window ({self.window}), but got {self.budget}"
        )
        require(self.group >= 1, f"group must be at least 1, but got {self.group}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code caches every query head."""
        published = fidelity == "published"
        budget = Budget(self.budget * 16 // self.bits)
        retention = Budgeted(budget, WindowVotes(self.window), by_phase=True, repeat_heads=published)
        quantizer = ByClass(each=(TokenQuantizer(self.bits, self.group), Quantizer()))
        return Traits(retention=retention, quantizer=quantizer, reuse="none")
