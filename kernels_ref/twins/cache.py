"""A sequence's compressed cache: begun at its prompt's end, attended to block by block."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, attend, by_query_head, causal
from kernels_ref.twins.part import Part, Setting, part
from kernels_ref.twins.prefill import begun
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.errors import UserError
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
        states: the prompt's, as the model computes them where every token sees all before it; or as the policy's
            prefill read it (`kernels_ref.twins.prefill.read_prompt`), where some layers have fewer rows.
        profile: figures that hold instead of those that this prompt shows.
        seed: of whatever is drawn.
        calibration: states of another text, for what a method trains beforehand; by default it trains on the prompt.

    Raises:
        UserError: unknown policy or parameter; a trait without a twin; a model that the method does not fit.
    """
    given = text if isinstance(text, Policy) else policy(text)
    if given.fidelity != "ideal":
        raise UserError(f"policy {given.name!r}: twins execute fidelity ideal, not {given.fidelity}")
    setting = Setting(given, states.model, len(states), seed, calibration)
    seen: dict[str, Figure] = {}
    states = begun(part(given.prefill, setting), states)
    for trait in (*given.traits, given.placement):
        seen |= part(trait, setting).measure(states)
    seen |= profile or {}
    measured = policy(given.name, given.fidelity, seen) if seen else given
    return Compressed(replace(setting, policy=measured), states, seen)


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
        self.stepwise: bool = self.retention.stepwise or self.selection.stepwise
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
        found = self.sharing.encoded(self.slots, self._encode_layer)
        self.read, self.rows = [read for read, _ in found], [tensors for _, tensors in found]
        self._stale = False

    def _encode_layer(self, layer: int, slots: Slots) -> tuple[Slots, list[Tensor]]:
        read, tensors = self.basis.encode(layer, self.retention.coded(layer, slots))
        return self.retention.decoded(layer, read), tensors

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
        appended = self.slots[layer].append(at, new.keys, new.values)
        visible, bias = self._visible(layer, new, at, cached, grown, appended)
        beside = self.retention.beside(layer, new.queries)
        out, probabilities = attend(new.queries, grown.key, grown.value, visible, bias, beside)
        self.last[layer] = seen = Attended(probabilities, grown.position)
        self.selection.seen(layer, seen)
        holder = self.sharing.holder(layer)
        self.slots[layer] = (
            self.retention.grown(layer, appended, new, seen, context + n) if holder == layer else self.slots[holder]
        )
        self.context[layer], self._stale = context + n, True
        return out

    def _visible(
        self, layer: int, new: LayerStates, at: Tensor, cached: Slots, grown: Slots, appended: Slots
    ) -> tuple[Tensor, Tensor | None]:
        """What the new tokens see of cached slots and of each other, and what is added to its scores."""
        n = len(at)
        before = torch.ones(1, n, cached.position.shape[1], dtype=torch.bool, device=at.device)
        visible = grown.valid[:, None] & torch.cat([before, causal(at, at)], 2)
        if (window := self.retention.visible(at, grown)) is not None:
            visible = visible & window
        if (stays := self.retention.outlives(layer, appended, new, self.context[layer] + n)) is not None:
            visible = visible & stays
        bias = grown.weight.log()[:, None] if grown.counted else None
        for one in (self.selection, self.placement):
            if (chosen := one.chosen(layer, new.queries, cached)) is None:
                continue
            if chosen.dtype != torch.bool:
                more = torch.cat([chosen.clamp(min=-1e30), chosen.new_zeros(chosen.shape[0], n, n)], 2)
                bias, chosen = more if bias is None else _joined(bias, more, torch.add), chosen > -torch.inf
            own = torch.ones(chosen.shape[0], n, n, dtype=torch.bool, device=at.device)
            visible = _joined(visible, torch.cat([chosen, own], 2), torch.logical_and)
        return visible, bias

    def kept(self) -> list[list[Tensor]]:
        """Positions of kept tokens by layer and kv head, rising."""
        return [[head[head >= 0] for head in slots.position] for slots in self.slots]

    def stored_bytes(self) -> dict[str, int]:
        """Bytes of all stored tensors, metadata included, by tier."""
        if self._stale:
            self._encode()
        holds = [self.sharing.holder(layer) == layer for layer in range(len(self.slots))]
        others = [self._others(layer, slots) if holds[layer] else [] for layer, slots in enumerate(self.slots)]
        rows = [[*rows, *more] for rows, more in zip(self.rows, others, strict=True)]
        index = [self.selection.held(layer, slots) if holds[layer] else [] for layer, slots in enumerate(self.slots)]
        found: dict[str, int] = self.placement.rest(rows, index, self.slots)
        return found

    def _others(self, layer: int, slots: Slots) -> list[Tensor]:
        parts = (self.retention, self.sharing, self.basis, self.prefill)
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


def _joined(one: Tensor, other: Tensor, by: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`by` of rows [H, Hk or 1, ...], repeated for the query heads of a kv head where one has more."""
    many = max(one.shape[0], other.shape[0])
    return by(by_query_head(one, many), by_query_head(other, many))
