"""A draft model reads the prompt first and says which tokens the model reads at all (SpecPC, arXiv:2506.08373)."""

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from kernels_ref.twins.attention import last_probabilities
from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.states import States
from kvsim.traits.draft import DraftFirst


@part_of(DraftFirst)
class Drafted(AllPass):
    """SpecPC, algorithm 2 and the released code: the largest attention that one of the last queries, weighted from 0
    for the oldest to 1 for the newest, pays a token in any head and layer from `first` on; its maximum over `pool`
    neighbours. Tokens are read with their `neighbours`, best first; the window always is.
    """

    def prepare(self, dense: States) -> None:
        """The draft's scores of the prompt's tokens."""
        if not self.trait.tokens or len(dense) <= self.trait.tokens:
            return
        self.scores = torch.zeros(len(dense))
        for layer in dense.layers[min(self.trait.first, len(dense.layers) - 1) :]:
            seen = last_probabilities(layer.queries, layer.keys, self.trait.window)
            weights = torch.linspace(0, 1, seen.shape[1], device=seen.device)
            found = (seen * weights[:, None]).amax((0, 1))
            self.scores = torch.maximum(self.scores.to(found.device), found)

    def before(self, tokens: Tensor) -> Tensor | None:
        """As many as the budget; all of a prompt within it."""
        total, many = len(tokens), self.trait.tokens
        if not many or total <= many:
            return None
        left = (self.trait.pool - 1) // 2
        padded = pad(self.scores, (left, self.trait.pool - 1 - left))
        smooth = max_pool1d(padded[None, None], self.trait.pool, 1)[0, 0]
        window = torch.arange(total - self.trait.window, total, device=smooth.device)
        rank = torch.full((total,), total * (self.trait.neighbours + 1), device=smooth.device)
        rank[window] = -1
        turn = self._with_neighbours(smooth.topk(many).indices, total).flatten()
        rank = rank.scatter_reduce(0, turn, torch.arange(len(turn), device=turn.device), "amin")
        return rank.argsort(stable=True)[:many].sort().values

    def _with_neighbours(self, best: Tensor, total: int) -> Tensor:
        """Tokens [best, neighbours] in the order in which they are taken: nearest first."""
        if not (around := self.trait.neighbours):
            return best[:, None]
        near = torch.arange(-((around - 1) // 2), around - (around - 1) // 2, device=best.device)
        near = near[near.abs().argsort(stable=True)]
        return (best[:, None] + near).clamp(0, total - 1)

    def notes(self) -> tuple[str, ...]:
        """Who drafts."""
        many = self.trait.lookahead
        return (
            f"{self.trait.draft}: the model itself stands in for its draft, and writes none of {many} tokens ahead",
        )
