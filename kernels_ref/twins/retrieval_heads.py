"""DuoAttention: retrieval heads keep everything, streaming heads sinks and a window (arXiv:2410.10819)."""

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended
from kernels_ref.twins.part import part_of
from kernels_ref.twins.probes import attention, last_rows, residual
from kernels_ref.twins.retention import AllStay
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.profile import Figure
from kvsim.traits.retrieval_heads import RetrievalHeads


@part_of(RetrievalHeads)
class Retrieval(AllStay):
    """Which heads: those whose output errs most when they see sinks and window only.

    The paper learns a gate a head: it mixes both outputs, errors of the model's last hidden state are squared and gates
    pay for being open. With errors taken layer by layer, gate g of error d costs (1 - g)^2 d + p g, least at
    g = 1 - p / 2d: ordering heads by d is its solution. d: of the last 256 queries of the calibration text, through the
    output projection, over the residual stream's square, as far as states hold these.
    """

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Shares of layers when all heads of the model are ranked together."""
        errors, full = self._errors(states), self.trait.full
        many = ceil(full * errors.numel() - 1e-9)
        if not many:
            return {}
        chosen = torch.zeros(errors.numel()).scatter_(
            0, errors.flatten().argsort(descending=True, stable=True)[:many], 1
        )
        shares = chosen.reshape(errors.shape).double().mean(1) / full
        name = self.setting.name_of(self.trait.figure)
        return {name: Figure(tuple(shares.tolist()), 0.0, "measured on the calibration text or the prompt")}

    def _errors(self, states: States) -> Tensor:
        """[L, Hk], found once."""
        memory = self.setting.memory
        if "streaming errors" not in memory:
            text = self.setting.calibration or states
            each = [self._error(layer, text, i) for i, layer in enumerate(text.layers)]
            memory["streaming errors"] = torch.stack(each).cpu()
        errors: Tensor = memory["streaming errors"]
        return errors

    def _error(self, layer: LayerStates, text: States, i: int) -> Tensor:
        kv_heads, total = layer.keys.shape[:2]
        rows = last_rows(total, layer.keys.device)
        at = torch.arange(total, device=rows.device)
        near = (at < self.trait.sinks) | (at > rows[:, None] - self.trait.recent)
        shown = attention(layer, rows)
        streamed = shown * near
        changed = shown - streamed / streamed.sum(-1, keepdim=True).clamp(min=1e-9)
        off = (changed.reshape(kv_heads, -1, total) @ layer.values).reshape(shown.shape[0], len(rows), -1)
        if text.projections:
            output = text.projections[i].output  # [hidden, H x Dv]
            weights = output.reshape(output.shape[0], shown.shape[0], -1)
            off = torch.einsum("hnd,ohd->hno", off, weights).reshape(kv_heads, -1, len(rows), output.shape[0]).sum(1)
        else:
            off = off.reshape(kv_heads, -1, len(rows), off.shape[-1]).flatten(0, 1)
        stream = residual(text, i, rows)
        scale = 1.0 if stream is None else stream.square().sum(1).mean()
        return (off.square().sum(-1).mean(1) / scale).reshape(kv_heads, -1).sum(1)

    def end(self, states: States) -> list[Slots]:
        """Of the prompt, whose rows are those of a model in which every head saw everything."""
        layers, heads = len(states.layers), states.model.cache_heads
        order = self._errors(states).argsort(dim=1, descending=True, stable=True)
        full = torch.tensor([[self.trait.full_heads(heads, i, layers)] for i in range(layers)])
        flags = torch.arange(heads).expand(layers, -1) < full
        self.full = torch.empty_like(flags).scatter_(1, order, flags).to(states.tokens.device)
        return [self._cut(i, slots, len(states)) for i, slots in enumerate(super().end(states))]

    def outlives(self, layer: int, slots: Slots, new: LayerStates, context: int) -> Tensor | None:
        """All, or sinks and a window behind each query."""
        at, n = slots.position[:, None], new.keys.shape[1]
        queries = torch.arange(context - n, context, device=at.device)[:, None]
        return self.full[layer][:, None, None] | (at < self.trait.sinks) | (at > queries - self.trait.recent)

    def grown(self, layer: int, slots: Slots, new: LayerStates, seen: Attended, context: int) -> Slots:
        """Windows move on."""
        return self._cut(layer, slots, context)

    def _cut(self, layer: int, slots: Slots, context: int) -> Slots:
        short = min(context, self.trait.sinks + self.trait.recent)
        many = torch.where(self.full[layer], context, short)
        rank = torch.where(slots.position < self.trait.sinks, torch.inf, slots.position.double())
        return slots.take(best(rank, many, slots.valid))

    def notes(self) -> tuple[str, ...]:
        """Stand-ins."""
        return (
            "retrieval heads are those whose output errs most as streaming heads, not those of trained gates",
            "the prompt was read with full attention in every head",
        )
