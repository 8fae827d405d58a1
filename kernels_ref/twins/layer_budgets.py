"""Budgets that follow what a prompt shows of its layers: CAKE, ZigZagKV, D2O, SqueezeAttention."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from kernels_ref.twins.attention import column_sums, last_probabilities
from kernels_ref.twins.budgeted import Even
from kernels_ref.twins.part import part_of
from kernels_ref.twins.probes import last_rows, residual
from kernels_ref.twins.states import LayerStates, States
from kvsim.errors import UserError
from kvsim.traits.budgets import LayerShares, LowLayers, Pyramid
from kvsim.traits.profile import Figure

SOURCE = "measured on the prompt"
MASS = 0.9  # of attention that ZigZagKV's smallest budget keeps (assumed: the paper leaves it to the model)


@part_of(Pyramid)
class ByDepth(Even):
    """PyramidKV: depth alone decides."""


@part_of(LayerShares)
class ByAttention(Even):
    """Shares follow a figure of each layer's attention."""

    def measure(self, states: States) -> Mapping[str, Figure]:
        """One value a layer."""
        of: dict[str, Callable[[int, LayerStates], Tensor]] = {
            "preference": self._preference,
            "uncertainty": self._uncertainty,
            "density": self._variance,
        }
        found = torch.stack([of[self.trait.measure](i, layer) for i, layer in enumerate(states.layers)]).double()
        if self.trait.measure == "density":
            found = self._densities(found)
        if not found.sum() > 0:  # a prompt within the window shows nothing
            found = torch.ones_like(found)
        return {self.setting.name_of(self.trait.figure): Figure(tuple(found.tolist()), 0.0, SOURCE)}

    def _preference(self, i: int, layer: LayerStates) -> Tensor:
        """CAKE (arXiv:2503.12491, equation 5): entropy^(1/tau1) x variance^(1/tau2) of the window's attention."""
        scorer = self.setting.policy.retention.scorer  # type: ignore[attr-defined]
        window = min(scorer.window, layer.keys.shape[1])
        shown = last_probabilities(layer.queries, layer.keys, window)[..., :-window].double()
        if not shown.numel():
            return shown.new_zeros(())
        entropy = -(shown * (shown + 1e-10).log()).sum()
        change = shown.var(1).sum() if window > 1 else shown.new_ones(())
        found: Tensor = entropy.clamp(min=0) ** (1 / scorer.tau1) * change ** (1 / scorer.tau2)
        return found

    def _uncertainty(self, i: int, layer: LayerStates) -> Tensor:
        """ZigZagKV (arXiv:2412.09036): tokens whose attention adds up to `MASS`, mean over window and heads."""
        window = min(self.setting.policy.retention.scorer.window, layer.keys.shape[1])  # type: ignore[attr-defined]
        shown = last_probabilities(layer.queries, layer.keys, window)
        fewer = shown.sort(-1, descending=True).values.cumsum(-1) < MASS
        return fewer.sum(-1).float().mean() + 1

    def _densities(self, variances: Tensor) -> Tensor:
        """D2O: softmax of minus the variance, so that a layer's share of the prompt is from 1 to 100 %."""
        shares = (-variances).softmax(0) * len(variances)
        mean = sum(self.trait.parts)
        return (shares * mean).clamp(0.01, 1.0) / mean

    def _variance(self, i: int, layer: LayerStates) -> Tensor:
        """D2O (arXiv:2406.13035): variance of column sums of attention, scaled to 0 ... 1 over heads, their mean."""
        sums = self.setting.memory[f"column sums {i}"] = column_sums(layer.queries, layer.keys)
        each = sums.var(1, correction=0)
        return ((each - each.min()) / (each.max() - each.min() + 1e-6)).mean()


@part_of(LowLayers)
class ByCosine(Even):
    """SqueezeAttention (arXiv:2404.04793, algorithm 1): the cluster of layers whose attention turns tokens least.

    Mean cosine of the residual stream before and after, of the prompt's last 256 tokens.
    """

    def measure(self, states: States) -> Mapping[str, Figure]:
        """1 for the layers of the cluster whose residual stream turns least."""
        cosines = []
        rows = last_rows(len(states), states.tokens.device)
        for i, layer in enumerate(states.layers):
            after = residual(states, i, rows)
            if layer.before is None or after is None:
                raise UserError("squeezeattention: states must hold the residual stream around each layer's attention")
            cosines.append(torch.cosine_similarity(layer.before[rows], after, dim=-1).mean())
        low = clusters(torch.stack(cosines).double(), 3)
        flags = (low == low.max()).double()
        return {self.setting.name_of(self.trait.figure): Figure(tuple(flags.tolist()), 0.0, SOURCE)}


def clusters(values: Tensor, many: int, rounds: int = 100) -> Tensor:
    """k-means of numbers [n]: of each, the rank of its cluster's centre, 0 the lowest. Begins at even quantiles."""
    centres = values.quantile(torch.linspace(0, 1, many, dtype=values.dtype, device=values.device))
    for _ in range(rounds):
        of = (values[:, None] - centres).abs().argmin(1)
        moved = torch.stack([values[of == c].mean() if (of == c).any() else centres[c] for c in range(many)])
        if torch.equal(moved, centres):
            break
        centres = moved
    return of
