"""RazorAttention: Efficient KV Cache Compression Through Retrieval Heads. arXiv:2407.15891.

The few heads that look far back keep everything; all others keep sinks, a window and one token that stands for all that
was dropped. A kv head that serves one retrieval head keeps everything. No code was released.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.fates import Compensation
from kvsim.traits.head_budgets import HeadRules, Rule
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed


@dataclass(frozen=True)
class Razorattention(Paper):
    """sinks: first tokens that stay (4); least: newest tokens that stay at least (4000); shrink: else the prompt's
    length over this (5). Figure: shares of retrieval heads (about 15 %) and of the others.
    """

    sinks: int = 4
    least: int = 4000
    shrink: float = 5.0

    title = "RazorAttention"
    arxiv = "2407.15891"
    knob = "least"
    figures = MappingProxyType({"retrieval_heads": assumed(0.15, 0.85, spread=0.1)})

    def __post_init__(self) -> None:
        require(self.sinks >= 0, f"sinks must be at least 0, but got {self.sinks}")
        require(self.least >= 1, f"least must be at least 1, but got {self.least}")
        require(self.shrink >= 1, f"shrink must be at least 1, but got {self.shrink}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        rules = (Rule(everything=True), Rule(1 / self.shrink, self.least, self.sinks))
        budget = HeadRules(rules=rules, figure=self.profile()["retrieval_heads"])
        retention = Budgeted(budget, fate=Compensation(), sinks=self.sinks, every=1)
        return Traits(retention=retention, reuse="none")
