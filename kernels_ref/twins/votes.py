"""Votes of an observation window: the prompt's last queries choose, once the prompt is complete."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool1d

from kernels_ref.twins.attention import by_kv_head, last_probabilities
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.scorers import Positions
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates
from kvsim.traits.draft import VotesAmong
from kvsim.traits.votes import HeadBits, VotesAndSpread, WindowVotes


def by_block(rows: Tensor, block: int) -> Tensor:
    """Rows [..., n] as means over blocks of `block` columns, each repeated for its columns."""
    n = rows.shape[-1]
    at = torch.arange(n, device=rows.device) // block
    sums = rows.new_zeros(*rows.shape[:-1], -(-n // block)).index_add(-1, at, rows)
    return (sums / at.bincount())[..., at] if n else rows


@part_of(WindowVotes, VotesAmong)
class Votes(Positions):
    """SnapKV (arXiv:2404.14469, section 4): the last queries' attention to what lies before them, summed and pooled.

    WindowKV (arXiv:2503.17922): means over blocks, so that whole blocks stay (of the last as many tokens as fit), and
    the choice of the first of so many layers.
    """

    def __init__(self, trait: Any, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.shared: tuple[int, Tensor] = (-1, torch.zeros(0))

    def window(self, prompt: int) -> int:
        """The window of observation."""
        return min(int(self.trait.window), prompt)

    def shown(self, states: LayerStates) -> Tensor:
        """[H, window, T]: attention of the window's queries."""
        return last_probabilities(states.queries, states.keys, self.window(states.keys.shape[1]))

    def votes(self, shown: Tensor, kv_heads: int) -> Tensor:
        """[Hk, T]: sums over the window's queries and the query heads of each kv head."""
        return by_kv_head(shown.sum(1), kv_heads)

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """Votes pooled over neighbours, as released code does (average, kernel `pool`), or the leading layer's."""
        assert states is not None, "votes are cast once, at the prompt's end"
        leader = layer - layer % int(self.trait.shared_layers)
        if self.shared[0] != leader:
            self.shared = leader, self.chosen(self.votes(self.shown(states), states.keys.shape[0]))
        return self.shared[1]

    def chosen(self, votes: Tensor) -> Tensor:
        """A rank [Hk, T] from votes of as many."""
        total, pool = votes.shape[1], int(self.trait.pool)
        before = total - self.window(total)
        old = votes[:, :before]
        if before and pool > 1:
            old = avg_pool1d(old[None], pool, 1, pool // 2)[0, :, :before]
        return torch.cat([by_block(old, int(self.trait.blocks)), votes[:, before:]], 1)

    def notes(self) -> tuple[str, ...]:
        """Of WindowKV."""
        return ("no classifier tells the task: the last queries vote in any",) if self.trait.shared_layers > 1 else ()


@part_of(VotesAndSpread)
class SpreadVotes(Votes):
    """CAKE (arXiv:2503.12491, equation 9): mean attention of the window plus gamma x its variance over the queries."""

    def votes(self, shown: Tensor, kv_heads: int) -> Tensor:
        """[Hk, T]: means over the query heads of each kv head."""
        spread = shown.var(1) if shown.shape[1] > 1 else torch.zeros_like(shown[:, 0])
        each = shown.mean(1) + self.trait.gamma * spread
        return by_kv_head(each, kv_heads) * (kv_heads / shown.shape[0])


@part_of(HeadBits)
class Bits(Votes):
    """KVCrush (arXiv:2503.00022; pages and buckets as in OpenVINO GenAI): whole pages of important tokens, and others.

    A token has a bit for each query head: whether it is in the better half of those that may go. Pages that votes leave
    out are sorted by the Hamming distance of their bits to an anchor and cut into as many buckets as there is room for;
    the first page of each stays.
    """

    def rank(self, layer: int, slots: Slots, states: LayerStates | None) -> Tensor:
        """One for all heads: pages of importance first, then representatives, then the others by importance."""
        assert states is not None
        kept, page, total = self.setting.policy.retention, int(self.trait.blocks), states.keys.shape[1]
        shown = self.shown(states).sum(1)
        start, stop = kept.sinks, (total - kept.recent) // page * page
        stop = start + max(0, stop - start) // page * page
        rank = torch.full((total,), 8.0, device=shown.device)
        if stop > start:
            rank[start:stop] = self._by_page(layer, shown[:, start:stop], kept.budget.tokens - total + stop - start)
        return rank.expand(states.keys.shape[0], -1)

    def _by_page(self, layer: int, votes: Tensor, room: int) -> Tensor:
        """[n]: of tokens whose votes are [H, n], whole pages, where `room` of them may stay."""
        heads, n = votes.shape
        page = int(self.trait.blocks)
        others = int(self.trait.share * self.setting.policy.retention.budget.tokens) // page
        mass = votes.reshape(heads, -1, page).sum((0, 2))
        score = mass / mass.sum().clamp(min=1e-30)
        order = score.argsort(descending=True, stable=True)
        many = max(0, room // page - others)
        score[order[:many]] += 4.0
        left = order[many:].sort().values
        better = torch.zeros_like(votes).scatter_(1, votes.topk(n // 2, 1).indices, 1.0)
        bits = better.reshape(heads, -1, page).transpose(0, 1).flatten(1)  # [pages, H x page]
        far = (bits[left] != self._anchor(layer, bits)).sum(1)
        buckets = min(others, len(left))
        if buckets:
            by_distance = left[far.argsort(stable=True)]
            score[by_distance[torch.arange(buckets) * len(left) // buckets]] += 2.0
        return score.repeat_interleave(page)

    def _anchor(self, layer: int, bits: Tensor) -> Tensor:
        """Bits [H x page] that distances are taken from."""
        name, width = self.trait.anchor, bits.shape[1]
        if name == "mean":
            return (bits.mean(0) > 0.5).float()
        if name == "random":
            return torch.randint(0, 2, (width,), generator=self.setting.generator(layer)).to(bits)
        if name == "alternate":
            return (torch.arange(width, device=bits.device) % 2).to(bits)
        return torch.full((width,), float(name == "ones"), device=bits.device)
