"""A part: one trait at work on one sequence. Parts are found by the class of their trait."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

import kernels_ref.twins as package
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.errors import UserError
from kvsim.specs.model import Model
from kvsim.traits.layout import Layout
from kvsim.traits.policy import Policy
from kvsim.traits.profile import Figure

Made = TypeVar("Made", bound="type[Part]")
_PARTS: dict[type, "type[Part]"] = {}
BLOCK_TOKENS = 16


@dataclass(frozen=True)
class Setting:
    """What parts of one sequence have in common.

    Attributes:
        policy: whose traits they execute. model: whose cache it is.
        seed: of whatever is drawn. calibration: another text's states, for what a method trains beforehand; None
            trains on the prompt itself. prompt: its tokens.
        memory: what parts found while they measured the prompt, for those made again with its figures, by name.
    """

    policy: Policy
    model: Model
    prompt: int
    seed: int = 0
    calibration: States | None = None
    memory: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def layout(self) -> Layout:
        """The cost side of the policy."""
        return Layout(self.policy, self.model, 1, BLOCK_TOKENS)

    @cached_property
    def _groups(self) -> list[list[tuple[int, int]]]:
        """By layer: (group, heads) in order."""
        found: list[list[tuple[int, int]]] = [[] for _ in range(self.model.layers)]
        group = 0
        for kind in self.layout.kinds:
            for heads in kind.heads:
                for layer in kind.index:
                    found[layer].append((group, heads))
                group += 1
        return found

    def counts(self, layer: int, context: int) -> Tensor:
        """Tokens [C, Hk] that the cost side keeps by class in a layer once `context` were seen, heads by group."""
        kept = self._kept(context)
        return torch.tensor(
            np.concatenate([np.repeat(kept[g][:, None], heads, 1) for g, heads in self._groups[layer]], 1)
        )

    def _kept(self, context: int) -> Any:
        known: dict[int, Any] = self.__dict__.setdefault("_known", {})
        if context not in known:
            one = np.array([context], np.int64)
            known.clear()
            known[context] = np.array(self.policy.retention.kept(self.prompt, one, self.layout.kinds)[:, :, 0])
        return known[context]

    def generator(self, layer: int) -> torch.Generator:
        """For draws of one layer, the same each time."""
        return torch.Generator().manual_seed(self.seed * 1_000_003 + layer)

    def name_of(self, value: Figure | float) -> str:
        """What the papers of the policy call a figure that they handed to a trait.

        Raises:
            LookupError: none of theirs.
        """
        for paper in self.policy.papers:
            for name, figure in paper.profile().items():
                if figure is value or figure.mean == value or figure == value:
                    return name
        raise LookupError(f"{self.policy.name}: no figure of its profile is {value}")


class Part:
    """Of one trait. State of the sequence is its own."""

    def __init__(self, trait: Any, setting: Setting) -> None:
        self.trait, self.setting = trait, setting

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Figures of the profile that this prompt shows, by name."""
        return {}

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Tensors of a layer beside the encoded rows, as they are stored: metadata of slots, indices, states."""
        return []

    def notes(self) -> tuple[str, ...]:
        """What stands in for what, where the model does not fit a published setting."""
        return ()


def part_of(*traits: type) -> Callable[[Made], Made]:
    """Registers the part of these classes of traits, and of those derived from them that have none."""

    def register(made: Made) -> Made:
        for trait in traits:
            assert trait not in _PARTS, f"{trait.__name__} has two parts"
            _PARTS[trait] = made
        return made

    return register


@cache
def _load() -> None:
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


def part(trait: Any, setting: Setting) -> Any:
    """The part of a trait.

    Raises:
        UserError: it has none, with the reason.
    """
    _load()
    made = _PARTS.get(type(trait))
    if made is None:
        raise UserError(f"policy {setting.policy.name!r}: {type(trait).__name__} has no executable twin")
    return made(trait, setting)
