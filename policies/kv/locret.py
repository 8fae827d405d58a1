"""Locret: Enhancing Eviction in Long-Context LLM Inference with Trained Retaining Heads. arXiv:2410.01805.

Small trained heads say of each new row how much it will matter; after each chunk of a prompt the cache is cut to its
budget, so that neither memory nor attention ever meets the whole prompt. Code: huangyuxiang03/Locret.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.scorers import TrainedHeads


@dataclass(frozen=True)
class Locret(Paper):
    """budget: tokens of a head (6000 for Phi-3-mini; 16384 for Llama-3.1-8B); chunk: tokens read at a time (3072);
    hidden: width of the retaining heads; local: newest tokens that stay (2500).
    """

    budget: int = 6000
    chunk: int = 3072
    hidden: int = 1024
    local: int = 2500

    title = "Locret"
    arxiv = "2410.01805"
    repo = "huangyuxiang03/Locret"
    above_full = "a score for each slot"

    def __post_init__(self) -> None:
        require(0 <= self.local < self.budget, f"local must be in [0, budget), but got {self.local} of {self.budget}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")
        require(self.hidden >= 1, f"hidden must be at least 1, but got {self.hidden}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one."""
        limit = self.budget + self.chunk
        retention = Budgeted(Budget(self.budget), TrainedHeads(self.hidden), recent=self.local, limit=limit)
        return Traits(retention=retention, reuse="none")
