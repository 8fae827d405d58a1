"""Sentences: the mean key of each says whether its tokens are read (SentenceKV, arXiv:2504.00970)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kernels_ref.twins.choosing import PROBES, Choosing, figure, filled, group_scores, missed, packed, some
from kernels_ref.twins.part import part, part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.profile import Figure
from kvsim.traits.sentences import Sentences

_MARGIN = 1 + 1e-9  # so that tokens / (tokens of a sentence) rounds up to the sentences that there are


@part_of(Sentences)
class NearestSentences(Choosing):
    """Sentences of the prompt that keep a token in a head are numbered by head; all heads hold as many means.

    Generated tokens have no known sentences: one begins every so many tokens as a sentence of the prompt keeps. Heads
    of a group add their scores; the last sentence that is read is cut to the budget.
    """

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """Sentences of the prompt's tokens."""
        self.ends = torch.tensor(states.sentences or self._blocks(len(states))) + states.first
        self.named = bool(states.sentences)
        self.begun = [one.counts for one in slots]

    def _blocks(self, tokens: int) -> tuple[int, ...]:
        step = max(1, round(self.trait.tokens))
        return (*range(step, tokens, step), tokens)

    def sentences(self, layer: int, rows: Slots) -> tuple[Tensor, Tensor]:
        """(sentence [Hk, N] of each row, -1 if empty; how many each head has [Hk])."""
        many = (rows.counts.double() / self.trait.tokens).ceil().long()
        of_prompt = self._of_prompt(rows)
        # as the count grows by a token, the last sentence is the one that the cost side has begun
        order = torch.arange(1, rows.position.shape[1] + 1, device=rows.position.device)
        made = (order.double() / self.trait.tokens).ceil().long() - 1
        begun = self.begun[layer][:, None]
        found = torch.where(order[None] <= begun, of_prompt, made[None].expand_as(of_prompt))
        found = torch.minimum(found, many[:, None] - 1)
        return torch.where(rows.valid, found, -1), many

    def _of_prompt(self, rows: Slots) -> Tensor:
        """The prompt's sentences, numbered among those that a head keeps a token of."""
        whole = torch.bucketize(rows.position, self.ends.to(rows.position.device), right=True)
        new = torch.nn.functional.pad(whole[:, 1:] != whole[:, :-1], (1, 0), value=False)
        return new.cumsum(1)

    def means(self, layer: int, rows: Slots) -> tuple[Tensor, Tensor, Tensor]:
        """(mean keys [Hk, S, D], sentence of each row, sentences in use [Hk])."""
        found, many = self.sentences(layer, rows)
        member = torch.nn.functional.one_hot(found + 1, int(many.max()) + 1)[..., 1:].to(rows.key.dtype)
        sizes = member.sum(1)[..., None].clamp(min=1)
        return member.transpose(1, 2) @ rows.key / sizes, found, many

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """Tokens that are always read, and those of the best sentences."""
        best, always = self._best(layer, queries, rows)
        return best | always[:, None]

    def _best(self, layer: int, queries: Tensor, rows: Slots) -> tuple[Tensor, Tensor]:
        """(tokens of the best sentences [Hk, n, N], those that are read anyway [Hk, N])."""
        means, found, many = self.means(layer, rows)
        order, half = torch.arange(rows.position.shape[1], device=found.device), self.trait.always // 2
        newest = rows.counts[:, None] - (self.trait.always - half)
        always = ((order < half) | (order >= newest)) & rows.valid
        scores = group_scores(queries, means)
        free = torch.where(always, -1, found)
        there = torch.arange(means.shape[1], device=found.device) < many[:, None]
        return filled(scores.masked_fill(~there[:, None], -torch.inf), free, self.trait.budget), always

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Kept tokens of a sentence, and what the prompt's last queries choose that the query before had not."""
        slots = part(self.setting.policy.retention, self.setting).end(states)
        self.prepare(states, slots)
        rows = [packed(one)[0] for one in slots]
        kept = max(int(one.counts.max()) for one in rows)
        sentences = max(int(self._of_prompt(one)[one.valid].max()) + 1 for one in rows)
        chosen = [self._best(i, states.layers[i].queries[:, -PROBES:], rows[i])[0] for i in some(range(len(rows)))]
        found = figure(self.setting, self.trait.tokens, kept / sentences * _MARGIN)
        return found | figure(self.setting, self.trait.misses, missed(chosen))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """16-bit means, and the first row of each sentence, int32."""
        means, found, many = self.means(layer, packed(slots)[0])
        begins = torch.searchsorted(
            found.clamp(min=0).cummax(1).values, torch.arange(means.shape[1]).repeat(len(found), 1)
        )
        return [x[: int(n)] for both in zip(means.half(), begins.int(), many, strict=True) for x, n in
                ((both[0], both[2]), (both[1], both[2]))]  # fmt: skip

    def notes(self) -> tuple[str, ...]:
        """Where the text's sentences are not known."""
        return () if self.named else ("SentenceKV: blocks of as many tokens stand in for sentences",)
