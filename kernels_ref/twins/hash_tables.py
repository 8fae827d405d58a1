"""Hash tables: keys that collide with a query are sampled, and weighed by their chance to be (MagicPIG)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from kernels_ref.twins.by_position import ByPosition
from kernels_ref.twins.choosing import PROBES, figure, grouped, packed, some, spread
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.placement import Held, OnChip
from kernels_ref.twins.retention import all_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kernels_ref.twins.tiers import of_layers
from kvsim.traits.elsewhere import OnHost
from kvsim.traits.placement import DRAM
from kvsim.traits.profile import Figure

LEAST = 2  # tables in which a key must collide


@part_of(OnHost)
class Sampled(OnChip):
    """LSH sampling (arXiv:2410.16179, section 4): SimHash of keys less the prompt's mean key, for each query head.

    A key collides in a table with p^bits, p = 1 - angle / pi, and is sampled if it does so in at least two. Attention
    is self-normalized importance sampling: scores less the log of that chance. Sinks and the newest tokens are exact.
    Dense layers lie evenly from the first on (0 and 16 of 32). Tables hold slots sorted by hash: int32 and int16.
    """

    def __init__(self, trait: OnHost, setting: Setting) -> None:
        super().__init__(trait, setting)
        layers, dense = setting.model.layers, min(trait.dense_layers, setting.model.layers)
        self.dense = {i * layers // dense for i in range(dense)} if dense else set[int]()
        shape = trait.bits, trait.tables, setting.model.head_dim
        self.planes = torch.randn(*shape, generator=setting.generator(0))
        self._middle: dict[int, Tensor] = {}
        self._hashes = [ByPosition() for _ in range(layers)]
        self._tables: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def _hashed(self, rows: Tensor) -> Tensor:
        """Hashes [..., tables] of rows [..., D], int32."""
        found = torch.zeros(*rows.shape[:-1], self.trait.tables, dtype=torch.int32, device=rows.device)
        for bit, planes in enumerate(self.planes.to(rows.device)):
            found += (rows @ planes.T > 0).int() << bit
        return found

    def _sorted(self, layer: int, rows: Slots, newest: int) -> tuple[Tensor, Tensor]:
        """(hashes, slots) [Hk, tables, m], rising by hash; of all rows but at most the `newest` last ones."""
        if layer not in self._middle:
            sums = (rows.key * rows.valid[..., None]).sum(1, keepdim=True)
            self._middle[layer] = sums / rows.counts.clamp(min=1)[:, None, None]
        at, known, middle = rows.position, self._tables.get(layer), self._middle[layer]
        if known is not None:
            m = known[0].shape[1]
            if at.shape[1] - newest <= m <= at.shape[1] and torch.equal(known[0], at[:, :m]):
                return known[1], known[2]
        hashes = self._hashes[layer].of(rows, lambda key, _: self._hashed(key - middle))
        hashes = torch.where(rows.valid[..., None], hashes, 1 << self.trait.bits)  # behind all buckets
        slots = torch.arange(hashes.shape[1], device=hashes.device)
        both = (hashes.transpose(1, 2).contiguous().long() << 32 | slots).cpu().numpy()
        by_hash = torch.from_numpy(np.sort(both, axis=2)).to(hashes.device)  # many times as fast as torch's own sort
        self._tables[layer] = at, *(found := ((by_hash >> 32).int(), by_hash & 0xFFFFFFFF))
        return found

    def chosen(self, layer: int, queries: Tensor, slots: Slots) -> Tensor | None:
        """What is added to scores [H, n, N]."""
        if layer in self.dense or not slots.position.shape[1]:
            return None
        rows, index = packed(slots)
        found = self.weighed(layer, queries, rows)
        return found if index is None else spread(found, index, slots.position.shape[1])

    def weighed(self, layer: int, queries: Tensor, rows: Slots) -> Tensor:
        """Minus the log of its chance for a sampled token, 0 for one that is always read, -inf for others."""
        heads, n = queries.shape[:2]
        exact = self._exact(rows).repeat_interleave(heads // len(rows.key), 0)[:, None]
        sampled = ((self.collisions(layer, queries, rows) >= LEAST) & ~exact).nonzero(as_tuple=True)
        found = torch.where(exact, 0.0, -torch.inf).repeat(1, n, 1)
        found[sampled] = -self.chance(self._cosines(queries, rows.key - self._middle[layer])[sampled]).log()
        return found

    def _exact(self, rows: Slots) -> Tensor:
        order = torch.arange(rows.position.shape[1], device=rows.position.device)
        held = (order < self.trait.sinks) | (order >= rows.counts[:, None] - self.trait.local)
        return held & rows.valid

    def collisions(self, layer: int, queries: Tensor, rows: Slots) -> Tensor:
        """[H, n, N]: tables in which a query and a key share a bucket."""
        hashes, ids = self._sorted(layer, rows, self.trait.local)
        heads, n, many = queries.shape[0], queries.shape[1], rows.position.shape[1]
        asked = grouped(self._hashed(queries), len(hashes)).flatten(1, 2).transpose(1, 2).contiguous()
        first, last = (torch.searchsorted(hashes, asked, right=right) for right in (False, True))
        sizes = (last - first).flatten()
        which = torch.repeat_interleave(torch.arange(sizes.numel()), sizes)
        within = torch.arange(len(which)) - (sizes.cumsum(0) - sizes)[which]
        each, tables, length = asked.shape[2], asked.shape[1], hashes.shape[2]
        found = ids.reshape(-1)[which // each * length + first.flatten()[which] + within]
        query = which // (tables * each) * each + which % each
        return torch.bincount(query * many + found, minlength=heads * n * many).reshape(heads, n, many)

    def _cosines(self, queries: Tensor, keys: Tensor) -> Tensor:
        """[H, n, N], of queries and centred keys."""
        unit = torch.nn.functional.normalize
        cosine = grouped(unit(queries, dim=-1), len(keys)) @ unit(keys, dim=-1)[:, None].transpose(2, 3)
        return cosine.flatten(0, 1).clamp(-1, 1)

    def chance(self, cosine: Tensor) -> Tensor:
        """Chance that a key at such an angle collides in at least two tables (equation of section 4.2)."""
        once = (1 - cosine.double().arccos() / torch.pi) ** self.trait.bits
        none = (1 - once) ** (self.trait.tables - 1)
        return (1 - none * (1 - once) - self.trait.tables * once * none).clamp(min=1e-12).float()

    def measure(self, states: States) -> Mapping[str, Figure]:
        """Share of the tokens that one of the prompt's last queries samples."""
        sparse = [i for i in range(len(states.layers)) if i not in self.dense]
        shares = []
        for i in some(sparse):
            rows = all_of(states.layers[i])
            found = self.weighed(i, states.layers[i].queries[:, -PROBES:], rows)
            exact = self._exact(rows).repeat_interleave(len(found) // len(rows.key), 0)
            shares.append(((found > -torch.inf) & ~exact[:, None]).float().mean().item())
        share = sum(shares) / max(1, len(shares))
        return figure(self.setting, self.trait.sample, share or None)

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """A slot and a hash of each token in each table."""
        if layer in self.dense:
            return []
        rows, _ = packed(slots)
        hashes, ids = self._sorted(layer, rows, 0)
        tables = []
        for head, count in enumerate(rows.counts.tolist()):
            tables += [ids[head, :, :count].int(), hashes[head, :, :count].to(torch.int16)]
        return tables

    def rest(self, rows: Held, index: Held, slots: list[Slots]) -> dict[str, int]:
        """Dense layers in HBM, the others with their tables in DRAM."""
        both = [[*one, *other] for one, other in zip(rows, index, strict=True)]
        away = [i for i in range(len(rows)) if i not in self.dense]
        return of_layers(both, [], away, DRAM, [self.held(i, slots[i]) for i in away])
