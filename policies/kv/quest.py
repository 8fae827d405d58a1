"""Quest: Query-Aware Sparsity for Efficient Long-Context LLM Inference. arXiv:2406.10774, mit-han-lab/Quest.

All tokens stay in HBM, with the bounds of each page's keys beside them; a step reads the pages that may matter most.
The released kernels are for one sequence without grouped heads; here heads that share a kv head choose together.
"""

from dataclasses import dataclass

from kvsim.traits.pages import Pages
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Quest(Paper):
    """page: tokens of a page (16); budget: tokens read (repository: 1024); dense_layers: that read all (2)."""

    page: int = 16
    budget: int = 1024
    dense_layers: int = 2

    title = "Quest"
    arxiv = "2406.10774"
    repo = "mit-han-lab/Quest"
    knob = "budget"
    above_full = "bounds of each page"

    def __post_init__(self) -> None:
        require(self.page >= 1, f"page must be at least 1, but got {self.page}")
        fits = self.budget >= self.page and self.budget % self.page == 0
        require(fits, f"budget must be a multiple of page ({self.page}), but got {self.budget}")
        require(self.dense_layers >= 0, f"dense_layers must be at least 0, but got {self.dense_layers}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Only what is read changes; blocks of a prefix are shared, their bounds with them."""
        return Traits(selection=Pages(self.page, self.budget, self.dense_layers))
