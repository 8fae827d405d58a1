"""Watchers: scorers that follow each decode step's attention, with what they keep for every slot."""

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, last_probabilities
from kernels_ref.twins.part import part_of
from kernels_ref.twins.scorers import Positions
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.watchers import HashCodes, History, RecentProbabilities, Recurrence


def by_group(rows: Tensor, kv_heads: int) -> Tensor:
    """Rows [H, ...] by kv head: [Hk, H / Hk, ...]."""
    return rows.reshape(kv_heads, -1, *rows.shape[1:])


def newest(slots: Slots) -> int:
    """Position of the token just read."""
    return int(slots.position[0, -1])


@part_of(History)
class Importance(Positions):
    """Scissorhands (arXiv:2305.17118, algorithm 2): tokens that rarely drew more than 1 / tokens of attention go.

    A ring of bits says so for each of the last `window` steps, by kv head (mean over its query heads).
    """

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """Bits of the prompt's last queries, [Hk, T, bytes]."""
        total, window = states.keys.shape[1], int(self.trait.window)
        shown = last_probabilities(states.queries, states.keys, min(window, total))
        mean = by_group(shown, states.keys.shape[0]).mean(1)  # [Hk, queries, T]
        steps = torch.arange(total - mean.shape[1], total, device=mean.device)
        ring = torch.zeros(mean.shape[0], total, -(-window // 8) * 8, dtype=torch.uint8, device=mean.device)
        ring[:, :, steps % window] = (mean > 1 / (steps + 1.0)[:, None]).transpose(1, 2).to(torch.uint8)
        places = 2 ** torch.arange(8, device=mean.device, dtype=torch.int32)
        return {"history": (ring.reshape(*ring.shape[:2], -1, 8) * places).sum(-1).to(torch.uint8)}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Minus the steps of the window, since a token came, in which it did not matter."""
        now, bits = int(slots.position.max()), slots.extra["history"]
        mattered = _ONES.to(bits.device)[bits.int()].sum(-1)
        there = (now + 1 - slots.position).clamp(max=int(self.trait.window))
        return (mattered - there).float()

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """This step's bit in place of the oldest."""
        now, history = newest(slots), slots.extra["history"].clone()
        mean = by_group(seen.probabilities[:, 0], history.shape[0]).mean(1)
        byte, bit = divmod(now % int(self.trait.window), 8)
        mattered = (mean > 1 / (now + 1)).to(torch.uint8)
        history[:, :, byte] = (history[:, :, byte] & (255 - (1 << bit))) | (mattered << bit)
        return slots.with_extra(history=history)

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The bits."""
        return [slots.extra["history"][slots.valid]]


_ONES = torch.tensor([number.bit_count() for number in range(256)])


@part_of(Recurrence)
class Gaps(Positions):
    """LazyEviction (arXiv:2506.15969): tokens stay whose longest gap between two uses says that they may come back.

    Rank: minus the steps since a token last mattered, over one more than its longest gap so far.
    """

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """When it mattered last, and its longest gap: after the last query, which is all that is seen of the prompt."""
        total, heads = states.keys.shape[1], states.keys.shape[0]
        used = self._used(last_probabilities(states.queries, states.keys, 1)[:, 0], heads)
        born = torch.arange(total, device=used.device, dtype=torch.int32).expand(heads, -1)
        return self._after(used, born, torch.zeros_like(born), total - 1)

    def _used(self, probabilities: Tensor, kv_heads: int) -> Tensor:
        """[Hk, N]: whether one query [H, N] of a kv head makes a token matter."""
        return by_group(probabilities, kv_heads).amax(1) > self.trait.threshold

    def _after(self, used: Tensor, last: Tensor, gap: Tensor, now: int) -> dict[str, Tensor]:
        longest = torch.where(used, torch.maximum(gap, now - last), gap)
        return {"last": torch.where(used, now, last).to(torch.int32), "gap": longest.to(torch.int32)}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """As said."""
        now = int(slots.position.max())
        return -(now - slots.extra["last"]).float() / (1 + slots.extra["gap"])

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """Tokens that matter to this query; the new one begins to count."""
        now, last = newest(slots), slots.extra["last"].clone()
        last[:, -1] = now
        used = self._used(seen.probabilities[:, 0], last.shape[0])
        return slots.with_extra(**self._after(used, last, slots.extra["gap"], now))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Two int32 a slot."""
        return [slots.extra[name][slots.valid] for name in ("last", "gap")]


@part_of(RecentProbabilities)
class Fused(Positions):
    """MorphKV (arXiv:2503.00979, section 3): attention of the last queries, fused over them, summed over the group."""

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """fp16 rows [Hk, T, window, H / Hk] of the prompt's last queries, as a ring."""
        total, window = states.keys.shape[1], int(self.trait.window)
        shown = by_group(last_probabilities(states.queries, states.keys, min(window, total)), states.keys.shape[0])
        steps = torch.arange(total - shown.shape[2], total, device=shown.device)
        rows = torch.zeros(shown.shape[0], total, window, shown.shape[1], dtype=torch.float16, device=shown.device)
        rows[:, :, steps % window] = shown.permute(0, 3, 2, 1).half()
        return {"shown": rows}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Sum or maximum over queries, then the sum over query heads."""
        rows = slots.extra["shown"]
        if self.trait.fusion == "max":
            return rows.amax(2).float().sum(2)
        return rows.flatten(2).sum(2, dtype=torch.float32)

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """This step's row in place of the oldest."""
        rows = slots.extra["shown"]  # as appended, so nobody else's
        mean = by_group(seen.probabilities[:, 0], rows.shape[0])
        rows[:, :, newest(slots) % int(self.trait.window)] = mean.transpose(1, 2).half()
        return slots

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The rows."""
        return [slots.extra["shown"][slots.valid]]


@part_of(HashCodes)
class Codes(Positions):
    """HashEvict (arXiv:2412.16187): before attention runs, the key whose code is farthest from the query's goes.

    Distances are summed over the query heads of a kv head.
    """

    early = True

    def prepare(self, states: States) -> None:
        """Gaussian projections, one for all heads and layers, fp16 (static bytes)."""
        dim = states.layers[0].keys.shape[-1]
        drawn = torch.randn(dim, int(self.trait.bits), generator=self.setting.generator(0)).half().float()
        self.projection = drawn.to(states.layers[0].keys.device)

    def bits(self, rows: Tensor) -> Tensor:
        """Signs [..., bits] of rows [..., D]."""
        return rows @ self.projection > 0

    def code(self, keys: Tensor) -> Tensor:
        """Bytes [Hk, N, bytes]."""
        bits = torch.nn.functional.pad(self.bits(keys).int(), (0, -int(self.trait.bits) % 8))
        places = 2 ** torch.arange(8, device=keys.device, dtype=torch.int32)
        return (bits.reshape(*bits.shape[:2], -1, 8) * places).sum(-1).to(torch.uint8)

    def far(self, codes: Tensor, queries: Tensor) -> Tensor:
        """[Hk, N]: Hamming distances of codes [Hk, N, bytes] to queries [H, D]."""
        own = self.code(by_group(queries, codes.shape[0]))  # [Hk, group, bytes]
        other = codes[:, :, None] ^ own[:, None]
        return _ONES.to(codes.device)[other.int()].sum((2, 3)).to(torch.int16)

    def extra(self, layer: int, states: LayerStates) -> dict[str, Tensor]:
        """Codes, and their distance to the last query."""
        codes = self.code(states.keys)
        return {"code": codes, "far": self.far(codes, states.queries[:, -1])}

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Minus the distance; the newest token has the slot that came free."""
        last = slots.position == slots.position.max()
        return torch.where(last, torch.inf, -slots.extra["far"].float())

    def stepped(self, layer: int, slots: Slots, new: LayerStates, seen: Attended) -> Slots:
        """The new key's code, and distances to the new query."""
        codes = slots.extra["code"].clone()
        codes[:, -1] = self.code(new.keys)[:, -1]
        return slots.with_extra(code=codes, far=self.far(codes, new.queries[:, -1]))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The codes; distances are of one step."""
        return [slots.extra["code"][slots.valid]]
