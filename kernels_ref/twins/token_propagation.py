"""Token-selective propagation: from one layer on only tokens that the last queries attend to (FastKV)."""

from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from kernels_ref.twins.attention import last_probabilities
from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.states import LayerStates
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.token_propagation import Propagation
from kvsim.traits.votes import WindowVotes


@part_of(Propagation)
class Selective(AllPass):
    """arXiv:2502.01068, section 3.2: after the chosen layer, the tokens to which the last queries attend most: the
    retention's window of them.

    Attention is summed over the window and averaged over all heads, then pooled over neighbours; the window goes on.
    """

    def after(self, layer: int, states: LayerStates, at: Tensor) -> Tensor | None:
        """Of the last layer that sees all: as many as the cost side says."""
        total, last = len(at), max(1, int(self.trait.layer * self.setting.model.layers)) - 1
        many = max(self.trait.tokens, ceil(total * self.trait.share))
        if layer != last or many >= total:
            return None
        window, pool = self._votes()
        before = total - min(window, total)
        votes = last_probabilities(states.queries, states.keys, total - before).sum(1).mean(0)[:before]
        pooled = avg_pool1d(votes[None, None], pool, 1, pool // 2)[0, 0][:before] if pool > 1 else votes
        chosen = pooled.topk(many - (total - before)).indices.sort().values
        return torch.cat([chosen, torch.arange(before, total, device=chosen.device)])

    def _votes(self) -> tuple[int, int]:
        """(queries, neighbours) that vote: the retention's, else the paper's."""
        retention = self.setting.policy.retention
        scorer = retention.scorer if isinstance(retention, Budgeted) else None
        return (scorer.window, scorer.pool) if isinstance(scorer, WindowVotes) else (8, 7)
