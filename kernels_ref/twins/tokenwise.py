"""Quantizers that code each token by itself: what is coded stays as it is, and only new tokens are worked on."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels_ref.twins.encoding import Coded, Plain
from kernels_ref.twins.part import Setting
from kernels_ref.twins.states import States, rotate
from kvsim.traits.encoding import Basis, Quantizer


@dataclass(frozen=True)
class Known:
    """Rows that were coded, [R, n, ..], and what became of each token: key and value as read, then codes."""

    key: Tensor
    value: Tensor
    position: Tensor
    rows: tuple[Tensor, ...]

    def same(self, key: Tensor, value: Tensor, position: Tensor) -> bool:
        """Whether these rows are the known ones."""
        return self.position.shape == position.shape and self.begins(key, value, position)

    def begins(self, key: Tensor, value: Tensor, position: Tensor) -> bool:
        """Whether these rows begin with the known ones."""
        n = self.position.shape[1]
        return (
            n <= position.shape[1]
            and torch.equal(self.position, position[:, :n])
            and torch.equal(self.key, key[:, :n])
            and torch.equal(self.value, value[:, :n])
        )


class TokenWise(Plain):
    """Codes new tokens only, as long as the earlier ones are the same."""

    def __init__(self, trait: Quantizer, setting: Setting) -> None:
        super().__init__(trait, setting)
        self._known: dict[tuple[int, ...], Known] = {}

    def prepare(self, states: States) -> None:
        """Nothing to fit."""

    def rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """Of tokens [R, n, ..]: key and value as read, then whatever is stored; all [R, n, ..]."""
        raise NotImplementedError

    def stored(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors that hold what `rows` gave beside keys and values."""
        raise NotImplementedError

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """All tokens, the known ones from memory."""
        rows = self.known_rows(key, value, position)
        return Coded(rows[0], rows[1], self.stored(rows[2:]))

    def known_rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """What `rows` gives of all tokens."""
        name = tuple(self.heads.tolist())
        known = self._known.get(name)
        if known is None or not known.begins(key, value, position):
            made = self.rows(key, value, position)
        elif known.position.shape == position.shape:
            made = known.rows
        else:
            n = known.position.shape[1]
            new = self.rows(key[:, n:], value[:, n:], position[:, n:])
            made = tuple(torch.cat(both, 1) for both in zip(known.rows, new, strict=True))
        self._known[name] = Known(key, value, position, made)
        return made


class Fitted(TokenWise):
    """Those that learn from calibration rows what they code with. `turned`: keys are coded before rotary embedding.

    Under a basis of another kind keys are coded as they are given, and learning waits for the first rows.
    """

    turned = True

    def prepare(self, states: States) -> None:
        """Learns."""
        seen, self.turns = (self.setting.calibration or states).layers[self.layer], states.turns
        self.own_basis = type(self.setting.policy.basis) is Basis
        self._fits: dict[tuple[int, ...], Any] = {}
        self.whole = self.fit(seen.raw_keys if self.turned else seen.keys, seen.values) if self.own_basis else None

    def fit(self, key: Tensor, value: Tensor) -> Any:
        """What is learnt of rows [Hk, n, ..]."""
        raise NotImplementedError

    def fitted(self, key: Tensor, value: Tensor) -> tuple[Any, Tensor]:
        """What was learnt, and for each of the rows [R, n, ..] which of its heads they are."""
        if self.whole is not None:
            return self.whole, self.heads
        name = tuple(self.heads.tolist())
        if name not in self._fits:
            self._fits[name] = self.fit(key, value)
        return self._fits[name], torch.arange(len(name), device=key.device)

    def raw(self, key: Tensor, position: Tensor) -> Tensor:
        """Rows [R, n, D] without the rotation of their positions [R, n]."""
        return rotate(key, position, self.turns, back=True) if self.turned and self.own_basis else key

    def turn(self, key: Tensor, position: Tensor) -> Tensor:
        """Rows [R, n, D] with it."""
        return rotate(key, position, self.turns) if self.turned and self.own_basis else key

    @property
    def taught_by(self) -> str:
        """What it learns from."""
        return "the calibration text" if self.setting.calibration else "the prompt itself"


def sampled(rows: Tensor, many: int, generator: torch.Generator) -> Tensor:
    """`many` tokens at most of rows [R, n, D], the same in each head."""
    return rows[:, torch.randperm(rows.shape[1], generator=generator)[:many].to(rows.device)]
