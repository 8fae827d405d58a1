"""Local sums: half of what is read is the newest, half drew most attention of late (ALISA, arXiv:2403.17312)."""

from collections.abc import Mapping
from math import ceil

import torch
from torch import Tensor

from kernels_ref.twins.attention import Attended, by_kv_head, last_probabilities
from kernels_ref.twins.choosing import PROBES, Choosing, figure, missed, packed, some, top
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.local_sums import LocalSums
from kvsim.traits.profile import Figure


@part_of(LocalSums)
class SparseWindow(Choosing):
    """Sparse window attention (section 4.2). Sums are over the last `window` queries and the heads of a group.

    The prompt's last queries, which saw everything, begin them; from then on only what was read draws attention.
    """

    stepwise = True

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """Probabilities [window, Hk, positions] of the prompt's last queries."""
        self._recent = [self._rows(layer, self.trait.window) for layer in states.layers]

    def _rows(self, layer: LayerStates, many: int) -> Tensor:
        """[many, Hk, T], oldest first; zeros where the prompt has fewer queries."""
        seen = last_probabilities(layer.queries, layer.keys, min(many, layer.keys.shape[1]))
        rows = by_kv_head(seen, len(layer.keys)).transpose(0, 1)
        return torch.nn.functional.pad(rows, (0, 0, 0, 0, many - len(rows), 0))

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """ceil(share x tokens) of those that are there with the new one, which is of the newest."""
        sums = self._of(layer, rows).sum(0)
        return torch.stack([self._chosen(one, int(n))[None] for one, n in zip(sums, rows.counts, strict=True)])

    def _chosen(self, sums: Tensor, count: int) -> Tensor:
        """[N] of one head's `count` tokens."""
        many = ceil((count + 1) * self.trait.share)
        newest = many - many // 2 - 1
        order = torch.arange(len(sums), device=sums.device)
        recent = (order >= count - newest) & (order < count)
        others = torch.where(order < count - newest, sums, -torch.inf)
        most = min(many // 2, count - newest)
        return recent | top(others[None, None], torch.full((1, 1), most))[0, 0] if most > 0 else recent

    def _of(self, layer: int, rows: Slots) -> Tensor:
        """[window, Hk, N] of rows."""
        known, at = self._recent[layer], rows.position.clamp(min=0)
        size = int(at.max()) + 1 if at.numel() else 0
        if size > known.shape[2]:
            known = self._recent[layer] = torch.nn.functional.pad(known, (0, size - known.shape[2]))
        return known.gather(2, at.expand(len(known), -1, -1))

    def seen(self, layer: int, seen: Attended) -> None:
        """The newest query's probabilities in place of the oldest's."""
        at, row = seen.position, by_kv_head(seen.probabilities[:, -1], len(seen.position))
        size = max(int(at.max()) + 1, self._recent[layer].shape[2])
        known = torch.nn.functional.pad(self._recent[layer], (0, size - self._recent[layer].shape[2]))
        new = torch.zeros_like(known[0]).scatter_add(1, at.clamp(min=0), torch.where(at >= 0, row, 0.0))
        self._recent[layer] = torch.cat([known[1:], new[None]])

    def measure(self, states: States) -> Mapping[str, Figure]:
        """What the prompt's last queries would read that the query before had not; all attention counts meanwhile."""
        length, window = len(states), self.trait.window
        probes = min(PROBES, length - window - 1)
        if probes < 2:
            return {}
        chosen = []
        for i in some(range(len(states.layers))):
            rows = self._rows(states.layers[i], probes + window)
            for head in range(rows.shape[1]):
                each = [
                    self._chosen(rows[p : p + window, head].sum(0), length - probes + p) for p in range(probes)
                ]  # fmt: skip
                chosen.append(torch.stack(each)[None])
        return figure(self.setting, self.trait.misses, missed(chosen))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Each token's probabilities in the last `window` steps, fp32."""
        rows, _ = packed(slots)
        return [self._of(layer, rows)[:, rows.valid]]
