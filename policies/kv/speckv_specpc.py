"""Draft-based Approximate Inference for LLMs. arXiv:2506.08373, furiosa-ai/draft-based-approx-llm.

A draft model reads the prompt first. SpecPC: its attention says which prompt tokens the large model sees at all.
SpecKV: its look-ahead says which keys and values the large model keeps, after a sparse prefill of its own.
"""

from dataclasses import dataclass

from kvsim.traits.auxiliary import Draft
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class SpeckvSpecpc(Paper):
    """method: specpc or speckv; size: of the draft model, as a share of the large one (1B for 8B); tokens: of the
    prompt that stay (1024; 256 to 1024 for speckv); window: last tokens that stay and vote (64; 32 for speckv); sparse:
    share of pairs that speckv's prefill attends to; lookahead: tokens that its draft generates.
    """

    method: str = "specpc"
    size: float = 0.125
    tokens: int = 1024
    window: int = 64
    sparse: float = 0.25
    lookahead: int = 32

    title = "SpecKV and SpecPC"
    arxiv = "2506.08373"
    repo = "furiosa-ai/draft-based-approx-llm"

    def __post_init__(self) -> None:
        require(self.method in ("specpc", "speckv"), f"method must be specpc or speckv, but got {self.method!r}")
        require(0 < self.size < 1, f"size must be in (0, 1), but got {self.size}")
        require(
            self.tokens > self.window >= 1, f"tokens must be more than window ({self.window}), but got {self.tokens}"
        )
        require(0 < self.sparse <= 1, f"sparse must be in (0, 1], but got {self.sparse}")
        require(self.lookahead >= 1, f"lookahead must be at least 1, but got {self.lookahead}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one."""
        budget = Budget(self.tokens)
        if self.method == "specpc":
            return Traits(
                retention=Budgeted(budget, recent=self.window), prefill=Draft(self.size, self.tokens), reuse="none"
            )
        draft = Draft(self.size, sparse=self.sparse, lookahead=self.lookahead)
        return Traits(retention=Budgeted(budget, WindowVotes(self.window, 7)), prefill=draft, reuse="none")
