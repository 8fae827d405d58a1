"""SpecKV, of Draft-based Approximate Inference for LLMs. arXiv:2506.08373, furiosa-ai/draft-based-approx-llm.

A draft model reads the prompt and writes ahead; the queries of what it wrote choose the rows that the model keeps, and
the columns that a prompt's queries attend to. Since the choice comes first, other rows go as soon as chunks are read.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.draft import DraftFirst
from kvsim.traits.policy import Fidelity, Paper, Traits, require, require_window
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Speckv(Paper):
    """capacity: prompt tokens kept (repository: 256, 512 or 1024); window: last queries that vote with those written
    ahead (32); pool: neighbours that share votes (7); lookahead: tokens that the draft writes (64, assumed: in the
    repository a whole answer); near, columns: tokens that a prompt's query attends to, the newest and chosen ones (2048
    and 2048); draft: the draft model (Llama 3.2 1B).
    """

    capacity: int = 512
    window: int = 32
    pool: int = 7
    lookahead: int = 64
    near: int = 2048
    columns: int = 2048
    draft: str = "llama-3.2-1b"

    title = "SpecKV"
    arxiv = "2506.08373"
    repo = "furiosa-ai/draft-based-approx-llm"
    knob = "capacity"

    def __post_init__(self) -> None:
        for name in ("window", "pool", "lookahead", "near", "columns"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require_window(self.window, self.capacity)

    def traits(self, fidelity: Fidelity) -> Traits:
        """Which rows stay depends on the draft's answer: prefixes are not shared."""
        votes = WindowVotes(self.window + self.lookahead, self.pool)
        retention = Budgeted(Budget(self.capacity), votes, recent=self.window, limit=self.near + self.columns)
        return Traits(retention=retention, prefill=DraftFirst(self.draft, self.lookahead, appends=True), reuse="none")
