"""Clusters: keys by direction, the clusters nearest to a query are read (ClusterKV, arXiv:2412.03213, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels_ref.twins.choosing import PROBES, Choosing, figure, filled, group_scores, missed, packed, some
from kernels_ref.twins.part import part_of
from kernels_ref.twins.retention import all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.clusters import Clusters
from kvsim.traits.profile import Figure


@dataclass(frozen=True)
class Clustered:
    """Of one kv head: its first tokens' positions and clusters [m] (-1: a sink), and the clusters' centroids [C, D]."""

    position: Tensor
    label: Tensor
    centroid: Tensor


@part_of(Clusters)
class NearestClusters(Choosing):
    """A prompt's whole windows are clustered together, each later window by itself; heads of a group add their scores.

    A centroid is the mean of its keys; the last cluster that is read is cut to the budget.
    """

    def reads_all(self, layer: int) -> bool:
        """Dense layers."""
        return bool(layer < self.trait.dense_layers)

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self._known: dict[int, list[Clustered]] = {}

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """Clusters of the prompt."""
        for layer, one in enumerate(slots):
            if not self.reads_all(layer):
                self._clustered(layer, packed(one)[0])

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """Sinks, tokens of the best clusters, and those that are in none yet."""
        label, scores = self._scored(layer, queries, rows)
        if not scores.shape[2]:
            return None
        return filled(scores, label, self.trait.budget) | (label < 0)[:, None]

    def _scored(self, layer: int, queries: Tensor, rows: Slots) -> tuple[Tensor, Tensor]:
        """Clusters [Hk, N] of rows, and their scores [Hk, n, C]."""
        known = self._clustered(layer, rows)
        pad = torch.nn.utils.rnn.pad_sequence
        centroids = pad([one.centroid for one in known], batch_first=True)
        label = pad([one.label for one in known], batch_first=True, padding_value=-1)
        label = torch.nn.functional.pad(label, (0, rows.position.shape[1] - label.shape[1]), value=-1)
        real = pad([torch.ones(len(one.centroid), dtype=torch.bool) for one in known], batch_first=True)
        scores = group_scores(queries, centroids)
        return label, scores.masked_fill(~real.to(scores.device)[:, None], -torch.inf)

    def _clustered(self, layer: int, rows: Slots) -> list[Clustered]:
        """Of each head's rows; what was clustered before stays, unless its tokens are other ones now."""
        window, known = self.trait.window, self._known.get(layer) or [_nothing(rows)] * len(rows.position)
        found, todo = list(known), dict[tuple[int, int], list[int]]()
        for head, many in enumerate((rows.counts // window * window).tolist()):
            had = len(known[head].position)
            grown = had and had <= many and torch.equal(known[head].position, rows.position[head, :had])
            pieces = [(start, start + window) for start in range(had, many, window)] if grown else [(0, many)]
            for piece in pieces:
                todo.setdefault(piece, []).append(head)
        for (start, stop), heads in sorted(todo.items()):
            for head, new in zip(heads, self._means(layer, rows, heads, start, stop), strict=True):
                found[head] = new if not start else _joined(found[head], new)
        self._known[layer] = found
        return found

    def _means(self, layer: int, rows: Slots, heads: list[int], start: int, stop: int) -> list[Clustered]:
        """K-means of rows `start` to `stop` of some heads, but for sinks."""
        free = max(start, min(self.trait.sinks, stop))
        label, centroid = k_means(
            rows.key[heads, free:stop], (stop - start) // self.trait.each, self.trait.iterations,
            self.setting.generator(layer),
        )  # fmt: skip
        label = torch.nn.functional.pad(label, (free - start, 0), value=-1)
        at = rows.position[heads, start:stop]
        return [Clustered(*one) for one in zip(at, label, centroid, strict=True)]

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Tokens that the prompt's last queries choose and the query before had not."""
        sparse = [i for i in range(len(states.layers)) if not self.reads_all(i)]
        chosen = []
        for i in some(sparse):
            layer = states.layers[i]
            label, scores = self._scored(i, layer.queries[:, -PROBES:], all_of(layer, states.first))
            if scores.shape[2]:
                chosen.append(filled(scores, label, self.trait.budget))
        return figure(self.setting, self.trait.misses, missed(chosen))

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """16-bit centroids, and the cluster of each token that is in one, int32."""
        if self.reads_all(layer):
            return []
        known = self._clustered(layer, packed(slots)[0])
        return [x for one in known for x in (one.centroid.half(), one.label.int())]


def k_means(keys: Tensor, many: int, iterations: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clusters [R, n] by cosine of keys [R, n, D], and mean keys [R, many, D]. It begins at random keys."""
    if not many or not keys.shape[1]:
        return torch.zeros(keys.shape[:2], dtype=torch.int64), keys.new_zeros(len(keys), many, keys.shape[2])
    n = keys.shape[1]
    start = torch.randperm(n, generator=generator)[torch.arange(many) % n]
    centroid, label, unit = keys[:, start], None, torch.nn.functional.normalize(keys, dim=-1)
    for _ in range(iterations):
        now = (unit @ torch.nn.functional.normalize(centroid, dim=-1).transpose(1, 2)).argmax(2)
        if label is not None and torch.equal(now, label):
            break
        label = now
        member = torch.nn.functional.one_hot(label, many).to(keys.dtype).transpose(1, 2)
        sizes = member.sum(2, keepdim=True)
        centroid = torch.where(sizes > 0, member @ keys / sizes.clamp(min=1), centroid)
    assert label is not None
    return label, centroid


def _nothing(rows: Slots) -> Clustered:
    return Clustered(rows.position[0, :0], rows.position[0, :0], rows.key[0, :0])


def _joined(one: Clustered, other: Clustered) -> Clustered:
    label = torch.where(other.label >= 0, other.label + len(one.centroid), -1)
    return Clustered(
        torch.cat([one.position, other.position]), torch.cat([one.label, label]),
        torch.cat([one.centroid, other.centroid]),
    )  # fmt: skip
