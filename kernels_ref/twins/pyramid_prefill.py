"""A pyramid of tokens: those on which the newest queries agree reach deeper layers (PyramidInfer, arXiv:2405.12532)."""

import numpy as np
import torch
from torch import Tensor

from kernels_ref.twins.attention import attend, causal
from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.states import LayerStates
from kvsim.traits.pyramid import PyramidKept, PyramidPrefill

NEWEST_WEIGHT = 1.2  # of the newest query against 1 of the oldest that counts (repository: distance_weight)


@part_of(PyramidPrefill)
class Thinned(AllPass):
    """Section 3.2 and the released code: mean attention over heads and over the newest `recent` share of the queries.

    How many reach the next layer is the retention's to say. The newest, and the last token, always go on.
    """

    def after(self, layer: int, states: LayerStates, at: Tensor) -> Tensor | None:
        """The tokens that reach the next layer."""
        kept, prompt = self.setting.policy.retention, self.setting.prompt
        if layer + 1 >= self.setting.model.layers or not isinstance(kept, PyramidKept):
            return None
        newest = int(self.trait.recent * prompt) + 1
        before = len(at) - newest
        many = self.lengths(kept)[layer + 1] - newest
        if many >= before:
            return None
        chosen = agreed(states, newest)[:before].topk(many).indices.sort().values
        return torch.cat([chosen, torch.arange(before, len(at), device=chosen.device)])

    def lengths(self, kept: PyramidKept) -> list[int]:
        """Tokens of the prompt that reach each layer."""
        found: list[int] = kept.lengths(np.array([self.setting.prompt]), self.setting.model.layers)[:, 0].tolist()
        return found


def agreed(states: LayerStates, newest: int) -> Tensor:
    """[n]: mean attention of a layer's `newest` last queries, weighted, and of all heads, to each of its n tokens."""
    order = torch.arange(states.keys.shape[1], device=states.keys.device)
    asked = order[-newest:]
    seen = attend(states.queries[:, -newest:], states.keys, states.keys[..., :1], causal(asked, order), None)[1]
    weights = torch.linspace(1.0, NEWEST_WEIGHT, newest, device=order.device)
    return (seen.mean(0) * weights[:, None]).mean(0)
