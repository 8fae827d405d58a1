"""Prefill: which of a prompt's tokens pass through which layer."""

from torch import Tensor

from kernels_ref.twins.part import Part, part_of
from kernels_ref.twins.states import LayerStates
from kvsim.traits.prefill import Prefill


@part_of(Prefill)
class AllPass(Part):
    """Every token through every layer: the null prefill, and what others override."""

    def before(self, tokens: Tensor) -> Tensor | None:
        """Positions of a prompt's `tokens` [T] that the model reads at all; None: all."""
        return None

    def after(self, layer: int, states: LayerStates, at: Tensor) -> Tensor | None:
        """Which [m] of the tokens that passed a layer (positions `at` [n], states of as many) go on; None: all."""
        return None
