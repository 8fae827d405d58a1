"""SpecPC, of Draft-based Approximate Inference for LLMs. arXiv:2506.08373, furiosa-ai/draft-based-approx-llm.

A draft model reads the prompt; its attention chooses the tokens that the model itself reads at all.
"""

from dataclasses import dataclass

from kvsim.traits.budgets import Budget
from kvsim.traits.draft import DraftFirst, PromptCut
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Specpc(Paper):
    """tokens: of the prompt that the model reads (repository: 1024, 2048 or 3072); window: last queries of the draft
    that choose (64); pool: neighbours that share scores (32); neighbours: tokens read around a chosen one (32);
    lookahead: tokens that the draft writes (1); first: layer of the draft from which on scores count (8); draft: the
    draft model (Llama 3.2 1B).
    """

    tokens: int = 1024
    window: int = 64
    pool: int = 32
    neighbours: int = 32
    lookahead: int = 1
    first: int = 8
    draft: str = "llama-3.2-1b"

    title = "SpecPC"
    arxiv = "2506.08373"
    repo = "furiosa-ai/draft-based-approx-llm"
    knob = "tokens"

    def __post_init__(self) -> None:
        for name in ("window", "pool", "lookahead"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("neighbours", "first"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")
        require(self.tokens > self.window, f"tokens must be more than window ({self.window}), but got {self.tokens}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """The prompt is another one for each question: prefixes are not shared."""
        prefill = DraftFirst(
            self.draft, self.lookahead, self.tokens, self.window, self.pool, self.neighbours, self.first
        )
        return Traits(retention=PromptCut(Budget(self.tokens)), prefill=prefill, reuse="none")
