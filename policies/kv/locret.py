"""Locret: Enhancing Eviction in Long-Context LLM Inference with Trained Retaining Heads. arXiv:2410.01805.

Small trained heads score each token as it is read; between the chunks of a prompt the cache is cut to a budget, so that
neither memory nor attention ever sees all of it. Code: huangyuxiang03/Locret.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.chunk_eviction import RetainingHeads
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Locret(Paper):
    """budget: tokens that stay (repository: 6000 of Phi-3-mini; paper: 16384 of Llama-3.1-8B); chunk: tokens read
    between cuts (3072), whatever the engine's chunks; stabilizers: newest tokens of a chunk that stay meanwhile (2500);
    local: last tokens of the prompt that stay (100); hidden: width of the heads (1024).
    """

    budget: int = 6000
    chunk: int = 3072
    stabilizers: int = 2500
    local: int = 100
    hidden: int = 1024

    title = "Locret"
    arxiv = "2410.01805"
    repo = "huangyuxiang03/Locret"
    knob = ("budget", "stabilizers")
    above_full = "a score of each token"

    def __post_init__(self) -> None:
        for name in ("chunk", "stabilizers", "local", "hidden"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        fits = self.budget > max(self.stabilizers, self.local)
        require(fits, f"budget must be more than stabilizers and local, but got {self.budget}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """A prompt's token sees the budget and its chunk. Generated tokens stay."""
        heads = RetainingHeads(self.hidden, self.stabilizers)
        retention = Budgeted(Budget(self.budget), heads, recent=self.local, limit=self.budget + self.chunk)
        return Traits(retention=retention, reuse="none")
