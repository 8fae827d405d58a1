"""The baseline below all methods: every kv head keeps a random share of the prompt. Of quality alone, no paper's."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels_ref.twins.part import part_of
from kernels_ref.twins.scorers import Positions
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import NULLS, Fidelity, Paper, Policy, Traits, parameters, require
from kvsim.traits.scorers import Scorer

NAME = "random"


@dataclass(frozen=True)
class Drawn(Scorer):
    """Ranks are drawn."""

    by_head = True


@dataclass(frozen=True)
class Random(Paper):
    """keep: share of the prompt that a head keeps."""

    keep: float = 0.5

    title = "random eviction"
    knob = "keep"

    def __post_init__(self) -> None:
        require(0 < self.keep <= 1, f"keep must be in (0, 1], but got {self.keep}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Uniform over positions, sinks and the newest tokens among them."""
        return Traits(retention=Budgeted(Budget(parts=(self.keep,)), Drawn()), reuse="none")


@part_of(Drawn)
class Draws(Positions):
    """Each head's own, by the seed."""

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Uniform."""
        drawn = torch.rand(slots.position.shape, generator=self.setting.generator(layer))
        return drawn.to(slots.position.device)


def random_policy(text: str) -> Policy:
    """`random`, or `random:keep=0.25`."""
    paper = parameters(Random, text.split(":")[1:], f"policy {NAME!r}")
    traits: dict[str, Any] = NULLS | {"retention": paper.traits("ideal").retention}
    return Policy(text, "ideal", (paper,), reuse="none", **traits)
