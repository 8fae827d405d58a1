"""Finch: Prompt-guided Key-Value Cache Compression. arXiv:2408.00167; NVIDIA/kvpress has a one-pass variant.

A document is read chunk by chunk with the question behind each; what the question attends to is carried on, its keys
rotated to the positions that follow each other. Traces do not tell questions apart: `question` tokens are assumed.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.chunkwise import Chunkwise
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Finch(Paper):
    """capacity: document tokens that are carried on (free in the paper); chunk: tokens read at a time; question: tokens
    of the question, read with every chunk (a stated default).
    """

    capacity: int = 2048
    chunk: int = 1024
    question: int = 64

    title = "Finch"
    arxiv = "2408.00167"
    repo = "NVIDIA/kvpress"
    knob = "capacity"

    def __post_init__(self) -> None:
        require(self.question >= 1, f"question must be at least 1, but got {self.question}")
        require(self.chunk >= 1, f"chunk must be at least 1, but got {self.chunk}")
        require(self.capacity >= 1, f"capacity must be at least 1, but got {self.capacity}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: the variant in kvpress reads the prompt once, and is another method."""
        retention = Budgeted(
            Budget(self.capacity + self.question), WindowVotes(self.question, pool=1), limit=self.capacity
        )
        return Traits(retention=retention, prefill=Chunkwise(self.chunk, self.question, self.capacity), reuse="none")
