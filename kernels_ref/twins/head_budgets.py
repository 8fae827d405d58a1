"""Budgets by kv head, and which heads have which: rules of FastGen and RazorAttention, importances of HeadKV."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kernels_ref.twins.attention import by_kv_head, column_sums
from kernels_ref.twins.budgeted import Even
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.probes import attention, equal_to, last_rows, mass_on
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.head_budgets import HeadRules, HeadShares
from kvsim.traits.profile import Figure

SOURCE = "measured on the prompt"
INDUCTION, ECHO = 0.14, 0.01  # shares of query heads that are retrieval heads (RazorAttention, section 3.2)


class ByNeed(Even):
    """Heads of a layer in the order in which they need tokens get the cost side's groups, which fall."""

    def prepare(self, states: States) -> None:
        """Needs [L, Hk], higher for more tokens."""
        self.order = self.needs(states).argsort(dim=1, descending=True, stable=True)

    def needs(self, states: States) -> Tensor:
        """[L, Hk], found once for `measure` and `prepare`."""
        memory = self.setting.memory
        if "needs" not in memory:
            memory["needs"] = self.found(states)
        needs: Tensor = memory["needs"]
        return needs

    def found(self, states: States) -> Tensor:
        """The same, from the states."""
        raise NotImplementedError

    def counts(self, layer: int, counts: Tensor) -> Tensor:
        """To the head that needs most the first."""
        return torch.empty_like(counts).scatter_(0, self.order[layer].to(counts.device), counts)

    def figure(self, rows: Tensor) -> Mapping[str, Figure]:
        """The trait's figure as rows [L, n] say."""
        name = self.setting.name_of(self.trait.figure)
        return {name: Figure(tuple(rows.double().flatten().tolist()), 0.0, SOURCE, len(rows))}


@part_of(HeadShares)
class ByImportance(ByNeed):
    """HeadKV (arXiv:2410.19258): heads that look at what is to be said next have more of the pool.

    The paper's score is attention to a needle's answer while it is said; here, on a text, attention to earlier copies
    of the token that comes next. Mean over the query heads of a kv head.
    """

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Importances by layer and rank."""
        return self.figure(self.needs(states).sort(dim=1, descending=True).values)

    def found(self, states: States) -> Tensor:
        """On the calibration text, if there is one."""
        text = self.setting.calibration or states
        rows = last_rows(len(text) - 1, text.tokens.device)
        masks = equal_to(text.tokens[rows + 1], text.tokens, rows)
        each = [mass_on(attention(x, rows), masks).reshape(x.keys.shape[0], -1).mean(1) for x in text.layers]
        return torch.stack(each) + 1e-6

    def notes(self) -> tuple[str, ...]:
        """The score's stand-in."""
        return ("heads are scored by attention to copies of the next token, not by needles",)


@part_of(HeadRules)
class ByRule(ByNeed):
    """Rules that must recover so much of a head's attention (FastGen), or retrieval heads (RazorAttention)."""

    def __init__(self, trait: Any, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.marks = torch.zeros(0, dtype=torch.bool)

    def prepare(self, states: States) -> None:
        """Which head follows which rule, and which tokens are marks."""
        super().prepare(states)
        heads, layers = states.model.cache_heads, len(states.layers)
        many = torch.tensor([self.trait.counts(heads, i, layers) for i in range(layers)])
        listed = torch.stack([torch.arange(many.shape[1]).repeat_interleave(row) for row in many])
        self.rule = torch.empty_like(listed).scatter_(1, self.order.cpu(), listed).to(states.tokens.device)
        if self.trait.recovery:
            self.marks = self._marks(states)

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Shares of a layer's heads by rule."""
        needs, rules = self.needs(states), len(self.trait.rules)
        of = rules - 1 - needs.floor().long().clamp(0, rules - 1)
        return self.figure(torch.nn.functional.one_hot(of, rules).double().mean(1))

    def found(self, states: States) -> Tensor:
        """The whole part is how many rules are cheaper than a head's."""
        if self.trait.recovery:
            return torch.stack([self._recovered(i, layer, states) for i, layer in enumerate(states.layers)])
        return self._retrieval(self.setting.calibration or states)

    def _retrieval(self, text: States) -> Tensor:
        """RazorAttention (arXiv:2407.15891, section 3.2): induction and echo heads, here on a text.

        Induction: attention to what followed earlier copies of a token; echo: to the copies. A kv head is one if any
        of its query heads is.
        """
        rows = last_rows(len(text), text.tokens.device)
        ids = text.tokens[rows]
        masks = [equal_to(ids, text.tokens, rows, shift) for shift in (1, 0)]
        shown = [attention(layer, rows) for layer in text.layers]
        found = []
        for mask, share in zip(masks, (INDUCTION, ECHO), strict=True):
            mass = torch.stack([mass_on(one, mask) for one in shown])  # [L, H]
            least = mass.flatten().topk(max(1, round(share * mass.numel()))).values[-1].clamp(min=1e-9)
            found.append(mass / least)
        best = torch.maximum(*found).reshape(len(shown), text.model.cache_heads, -1).amax(2)
        return torch.where(best >= 1, 1 + best / (1 + best.max()), best / (1 + best.max()))

    def _recovered(self, i: int, layer: LayerStates, states: States) -> Tensor:
        """FastGen (arXiv:2310.01801, algorithm 1): [Hk], by the cheapest rule that recovers enough attention.

        Of the last 256 queries, which are what decoding goes on with; mean over the query heads of a kv head.
        """
        heads, total, rules = layer.keys.shape[0], layer.keys.shape[1], self.trait.rules
        rows, at = last_rows(total, states.tokens.device), torch.arange(total, device=states.tokens.device)
        shown = attention(layer, rows).reshape(heads, -1, len(rows), total)
        special, marks = at < rules[-1].sinks, self._marks(states)
        known = self.setting.memory[f"column sums {i}"] = column_sums(layer.queries, layer.keys)
        sums = by_kv_head(known, heads).masked_fill(special | marks, -1.0)
        heavy, window = self._rooms(total)
        strong = torch.zeros_like(sums, dtype=torch.bool).scatter_(1, sums.topk(min(heavy, total)).indices, True)
        some = [special.expand(heads, -1), (special | marks).expand(heads, -1), special | marks | strong]
        recovered = [(shown * mask[:, None, None]).sum(-1).mean((1, 2)) for mask in some]
        near = some[-1][:, None] | (at > rows[:, None] - window)
        recovered.append((shown * near[:, None]).sum(-1).mean((1, 2)))
        enough = torch.stack([*recovered, torch.ones(heads, device=at.device)]) >= min(self.trait.recovery, 1.0)
        return enough.int().argmax(0) + 0.5 * (1 - recovered[0].clamp(0, 1))

    def _rooms(self, total: int) -> tuple[int, int]:
        """Heavy hitters of a prompt, and its window."""
        _, windowed, heavy, marks, _ = (rule.share for rule in self.trait.rules)
        return int(heavy * total) - int(marks * total), int(windowed * total) - int(heavy * total)

    def _marks(self, states: States) -> Tensor:
        """[T]: tokens taken for punctuation: ends of sentences, then the most frequent, as many as the rule says."""
        total, device = len(states), states.tokens.device
        many = min(int(self.trait.rules[3].share * total), max(0, total - self.trait.rules[-1].sinks))
        often = states.tokens.bincount()[states.tokens]
        ends = torch.zeros(total, dtype=torch.long, device=device)
        ends[torch.tensor(states.sentences, dtype=torch.long, device=device) - 1] = 1
        rank = (ends * (total + 1) + often) * total + torch.arange(total, device=device)
        rank[: self.trait.rules[-1].sinks] = -1
        return torch.zeros(total, dtype=torch.bool, device=device).scatter_(0, rank.topk(many).indices, True)

    def ranked(self, layer: int, slots: Slots, rank: Tensor, context: int) -> Tensor:
        """FastGen: special tokens, then marks, then a window, then heavy hitters, as far as a head's rule has them."""
        if not self.trait.recovery:
            return rank
        at, rule = slots.position, self.rule[layer][:, None]
        rank = rank.double()
        newest = self._rooms(self.setting.prompt)[1]
        rank = torch.where((rule == 1) & (at >= context - newest), 1e28 + at.double() * 1e20, rank)
        marked = self.marks[at.clamp(0, len(self.marks) - 1)] & (at >= 0) & (at < len(self.marks))
        rank = torch.where((rule < 4) & marked, 1e29, rank)
        return torch.where(at < self.trait.rules[-1].sinks, torch.inf, rank)

    def notes(self) -> tuple[str, ...]:
        """Stand-ins."""
        if self.trait.recovery:
            return ("special tokens are the first ones, punctuation ends of sentences and the most frequent tokens",)
        return ("retrieval heads are found on a text, not on repeated random tokens",)
