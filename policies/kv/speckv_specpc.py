"""SpecKV-PC, of Draft-based Approximate Inference for LLMs. arXiv:2506.08373, furiosa-ai/draft-based-approx-llm.

SpecPC, then SpecKV: one pass of a draft model chooses the tokens that the model reads, and what it wrote ahead chooses
which of their rows stay.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.draft import DraftFirst, VotesAmong
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window


@dataclass(frozen=True)
class Speckvspecpc(Paper):
    """capacity: prompt tokens kept (repository: 512); tokens: of the prompt that the model reads (2048); window: last
    queries that vote (32); pool: neighbours that share votes (7); lookahead: tokens that the draft writes (64, assumed:
    in the repository a whole answer); draft_window, draft_pool, neighbours, first: of the draft's choice (64, 32, 32
    and 8); draft: the draft model (Llama 3.2 1B).
    """

    capacity: int = 512
    tokens: int = 2048
    window: int = 32
    pool: int = 7
    lookahead: int = 64
    draft_window: int = 64
    draft_pool: int = 32
    neighbours: int = 32
    first: int = 8
    draft: str = "llama-3.2-1b"

    title = "SpecKV-PC"
    arxiv = "2506.08373"
    repo = "furiosa-ai/draft-based-approx-llm"
    knob = "capacity"

    def __post_init__(self) -> None:
        for name in ("window", "pool", "lookahead", "draft_window", "draft_pool"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("neighbours", "first"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")
        require_window(self.window, self.capacity)
        require(self.tokens >= self.capacity, f"tokens must be at least capacity ({self.capacity}), got {self.tokens}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """As of its two parts."""
        prefill = DraftFirst(
            self.draft, self.lookahead, self.tokens, self.draft_window, self.draft_pool, self.neighbours, self.first,
            appends=True,
        )  # fmt: skip
        votes = VotesAmong(self.window + self.lookahead, self.pool, among=self.tokens)
        return Traits(
            retention=Budgeted(Budget(self.capacity), votes, recent=self.window), prefill=prefill, reuse="none"
        )
