"""Choosing: what selections share. Slots without gaps, tokens of the best units up to a budget, misses of a choice."""

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels_ref.twins.part import Setting
from kernels_ref.twins.selection import Everything
from kernels_ref.twins.slots import Slots
from kvsim.traits.profile import Figure

PROBES = 64  # of a prompt's last queries, to measure what a choice depends on
SOME = 8  # layers, for the same


class Choosing(Everything):
    """A selection that chooses for each kv head: heads of a group together."""

    def reads_all(self, layer: int) -> bool:
        """Whether a layer chooses nothing."""
        return False

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """[Hk or H, n, N]: which of `rows`, that have no gaps, queries read. None: all."""
        raise NotImplementedError

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """The same among slots that may have gaps."""
        if self.reads_all(layer) or not slots.position.shape[1]:
            return None
        rows, index = packed(slots)
        found = self.choose(layer, queries, rows)
        return found if found is None or index is None else spread(found, index, slots.position.shape[1])


def packed(slots: Slots) -> tuple[Slots, Tensor | None]:
    """Slots in use first, in order, and where they were [Hk, N]; None where nothing moved."""
    valid = slots.valid
    if bool(valid.all()):
        return slots, None
    index = (~valid).to(torch.int8).argsort(dim=1, stable=True)
    most = int(slots.counts.max())
    return slots.take(index[:, :most]), index[:, :most]


def spread(found: Tensor, index: Tensor, many: int) -> Tensor:
    """A choice [R, n, M] of packed slots among `many` that they came from."""
    index = index.repeat_interleave(found.shape[0] // index.shape[0], 0)
    whole = found.new_zeros(*found.shape[:2], many)
    return whole.scatter(2, index[:, None].expand(-1, found.shape[1], -1), found)


def grouped(queries: Tensor, kv_heads: int) -> Tensor:
    """Queries [H, n, D] of the heads that share a kv head: [Hk, H / Hk, n, D]."""
    return queries.reshape(kv_heads, -1, *queries.shape[1:])


def group_scores(queries: Tensor, keys: Tensor) -> Tensor:
    """Products [Hk, n, M] of `queries` [H, n, D] with `keys` [Hk, M, D], summed over the heads of a group."""
    return grouped(queries, keys.shape[0]).sum(1) @ keys.transpose(1, 2)


def probabilities(queries: Tensor, keys: Tensor, valid: Tensor) -> Tensor:
    """Softmax [Hk, n, N] of queries [H, n, D] over keys [Hk, N, D] that are `valid` [Hk, N], summed over a group."""
    scores = grouped(queries, keys.shape[0]) @ keys[:, None].transpose(2, 3) * keys.shape[-1] ** -0.5
    return scores.masked_fill(~valid[:, None, None], -torch.inf).softmax(-1).nan_to_num(0.0).sum(1)


def top(scores: Tensor, many: Tensor) -> Tensor:
    """[R, n, N]: the `many` [R, n or 1] highest of each row."""
    width = min(int(many.max()), scores.shape[2])
    order = scores.topk(width, dim=2).indices
    wanted = (torch.arange(width, device=scores.device) < many[..., None]).expand(order.shape)
    found = torch.zeros_like(scores, dtype=torch.bool)
    return found.scatter(2, order, wanted)


def filled(scores: Tensor, unit: Tensor, budget: int) -> Tensor:
    """[R, n, N]: tokens of the units of highest `scores` [R, n, U] until `budget` are found; the last is cut short.

    `unit` [R, N] says which a token is in; -1 for none, which is never chosen. -inf: a unit that cannot be.
    """
    rows, units = unit.shape[0], scores.shape[2]
    member = torch.nn.functional.one_hot(unit.clamp(min=-1) + 1, units + 1)[..., 1:]
    sizes = member.sum(1)
    turn = (member.cumsum(1) - member).gather(2, unit.clamp(min=0)[..., None])[..., 0]  # tokens of the unit before it
    order = scores.argsort(dim=2, descending=True, stable=True)
    ordered = sizes[:, None].expand(scores.shape).gather(2, order)
    quota = torch.minimum(ordered, (budget - ordered.cumsum(2) + ordered).clamp(min=0))
    quota = torch.zeros_like(quota).scatter(2, order, quota)
    quota = torch.where(scores > -torch.inf, quota, 0)
    allowed = quota.gather(2, unit.clamp(min=0)[:, None].expand(rows, scores.shape[1], -1))
    return (turn[:, None] < allowed) & (unit >= 0)[:, None]


def some(layers: Sequence[int]) -> list[int]:
    """At most eight of them, evenly."""
    return [layers[i * len(layers) // SOME] for i in range(SOME)] if len(layers) > SOME else list(layers)


def figure(setting: Setting, value: float, found: float | None) -> dict[str, Figure]:
    """What the prompt shows of the figure that a trait has as `value`; nothing where it is no figure, or not shown."""
    try:
        return {} if found is None else {setting.name_of(value): Figure((found,), 0.0, "this prompt's last queries")}
    except LookupError:
        return {}


def missed(chosen: Sequence[Tensor]) -> float | None:
    """Share of what queries chose [R, n, N] that the query before had not; None where nothing was chosen."""
    now = sum(int(one[:, 1:].sum()) for one in chosen)
    new = sum(int((one[:, 1:] & ~one[:, :-1]).sum()) for one in chosen)
    return new / now if now else None
