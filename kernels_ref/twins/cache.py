"""A sequence's compressed cache: begun at its prompt's end, attended to block by block."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, attend, causal
from kernels_ref.twins.part import Part, Setting, part
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.policy import Policy, policy
from kvsim.traits.profile import Figure


def begin(
    text: str | Policy,
    states: States,
    *,
    profile: Mapping[str, Figure] | None = None,
    seed: int = 0,
    calibration: States | None = None,
) -> "Compressed":
    """The cache of a prompt, compressed when it is complete.

    Args:
        text: of a policy, as `--policy` takes it, or one made by `kvsim.traits.policy.policy`.
        states: the prompt's.
        profile: figures that hold instead of those that this prompt shows.
        seed: of whatever is drawn.
        calibration: states of another text, for what a method trains beforehand; by default it trains on the prompt.

    Raises:
        UserError: unknown policy or parameter; a trait without a twin; a model that the method does not fit.
    """
    given = text if isinstance(text, Policy) else policy(text)
    seen: dict[str, Figure] = {}
    for trait in (
        given.retention,
        given.selection,
        given.sharing,
        given.basis,
        given.quantizer,
        given.placement,
        given.prefill,
    ):
        seen |= part(trait, Setting(given, states.model, len(states), seed, calibration)).measure(states)
    seen |= profile or {}
    measured = policy(given.name, given.fidelity, seen) if seen else given
    return Compressed(Setting(measured, states.model, len(states), seed, calibration), states, seen)


class Compressed:
    """Attributes:
    policy: with the figures of its profile that `seen` holds: those that this prompt showed.
    stepwise: decoding changes what is kept, so that tokens must come one by one; otherwise in blocks.
    last: what the queries of the last call saw, by layer.
    """

    def __init__(self, setting: Setting, states: States, seen: Mapping[str, Figure]) -> None:
        self.setting, self.seen, self.policy = setting, seen, setting.policy
        one = setting.policy
        self.retention, self.basis, self.sharing = (part(x, setting) for x in (one.retention, one.basis, one.sharing))
        self.selection, self.placement = part(one.selection, setting), part(one.placement, setting)
        self.prefill = part(one.prefill, setting)
        self.stepwise: bool = self.retention.stepwise
        self.turns = states.turns
        self.context = [len(states)] * len(states.layers)
        self.basis.prepare(states)
        self.slots: list[Slots] = self.retention.end(states)
        self.sharing.prepare(states, self.slots)
        self.slots = [self.slots[self.sharing.holder(layer)] for layer in range(len(self.slots))]
        self._encode()
        self.selection.prepare(states, self.read)
        self.last: dict[int, Attended] = {}

    def _encode(self) -> None:
        """Stored tensors of all layers, and their rows as attention reads them."""
        found = self.sharing.encoded(self.slots, self.basis.encode)
        self.read, self.rows = [read for read, _ in found], [tensors for _, tensors in found]
        self._stale = False

    def attend(self, layer: int, new: LayerStates) -> Tensor:
        """Attention's output [H, n, Dv] for the next n tokens, which are then in the cache.

        Layers come in order, 0 first. The new tokens see each other as they are; what they are stored as is read from
        the next call on.
        """
        if layer == 0 and self._stale:
            self._encode()
        n, context = new.queries.shape[1], self.context[layer]
        assert n == 1 or not self.stepwise, "this policy reads token by token"
        at = torch.arange(context, context + n, device=new.keys.device)
        cached = self.read[layer]
        grown = cached.append(at, new.keys, new.values)
        visible = grown.valid[:, None] & torch.cat(
            [torch.ones(1, n, cached.position.shape[1], dtype=torch.bool, device=at.device), causal(at, at)], 2
        )
        if (window := self.retention.visible(at, grown)) is not None:
            visible = visible & window
        if (chosen := self.selection.chosen(layer, new.queries, cached)) is not None:
            rows = max(chosen.shape[0], visible.shape[0])
            own = torch.ones(chosen.shape[0], n, n, dtype=torch.bool, device=at.device)
            visible = _rows(visible, rows) & _rows(torch.cat([chosen, own], 2), rows)
        bias = grown.weight.log() if grown.counted else None
        out, probabilities = attend(new.queries, grown.key, grown.value, visible, bias)
        self.last[layer] = seen = Attended(probabilities, grown.position)
        if (holder := self.sharing.holder(layer)) == layer:
            appended = self.slots[layer].append(at, new.keys, new.values)
            self.slots[layer] = self.retention.grown(layer, appended, new, seen, context + n)
        else:
            self.slots[layer] = self.slots[holder]
        self.context[layer], self._stale = context + n, True
        return out

    def kept(self) -> list[list[Tensor]]:
        """Positions of kept tokens by layer and kv head, rising."""
        return [[head[head >= 0] for head in slots.position] for slots in self.slots]

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of all stored tensors, metadata included, by tier."""
        if self._stale:
            self._encode()
        others = [self._others(layer, slots) for layer, slots in enumerate(self.slots)]
        found: dict[str, int] = self.placement.rest(self.rows, others, self.slots)
        return found

    def _others(self, layer: int, slots: Slots) -> list[Tensor]:
        parts = (self.retention, self.selection, self.sharing, self.basis, self.prefill)
        shared = [x for q in self._quantizers(layer) for x in q.layer_held(layer, slots)]
        return [x for one in parts for x in one.held(layer, slots)] + shared

    def _quantizers(self, layer: int) -> Iterator[Part]:
        return (one for (at, _), one in self.basis.quantizers.items() if at == layer)

    @property
    def notes(self) -> tuple[str, ...]:
        """What stands in for what."""
        parts = (self.retention, self.selection, self.sharing, self.basis, self.placement, self.prefill)
        quantizers = tuple(note for one in self._quantizers(0) for note in one.notes())
        return tuple(note for one in parts for note in one.notes()) + quantizers


def _rows(rows: Tensor, many: int) -> Tensor:
    return rows if rows.shape[0] in (1, many) else rows.repeat_interleave(many // rows.shape[0], 0)
