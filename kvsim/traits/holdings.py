"""What kept tokens hold and what reading them moves: bytes by group, from the encoding, sharing and selection.

Token counts are arrays [G, C, S]: head groups, token classes, lengths; results are [G, S] of one layer, or [S] of all.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.traits.groups import Groups
from kvsim.traits.placement import Resting
from kvsim.traits.sharing import Sharing

if TYPE_CHECKING:
    from kvsim.traits.encoding import Basis, Quantizer
    from kvsim.traits.policy import Policy

Ints = NDArray[np.int64]
MANY = 1 << 20
TABULATED = 4096  # figures asked for, from which on they are looked up in a table
LONGEST = 1 << 20  # tokens in a table
BYTES, ALLOCATED, WORK, REBUILT, JOINT = range(5)  # figures of one encoded row


class Holdings:
    """The bytes of one policy, model and cut."""

    def __init__(
        self, policy: "Policy", geo: Geometry, kinds: tuple[LayerKind, ...], groups: Groups, block_tokens: int
    ) -> None:
        self.policy, self.geo, self.kinds, self.groups, self.block = policy, geo, kinds, groups, block_tokens
        self.basis = [policy.basis.of_kind(kind) for kind in kinds]
        self.quantizer = [policy.quantizer.of_kind(kind) for kind in kinds]
        self.rows = np.ones_like(groups.heads) if policy.basis.joint else groups.heads  # encoded rows of a token
        self.shares = type(policy.sharing) is not Sharing
        linear = all(basis.linear for basis in self.basis) and all(quantizer.linear for quantizer in self.quantizer)
        whole = not (policy.basis.joint or policy.quantizer.joint)  # whole bytes for each head's token
        self.linear = linear and whole and policy.retention.classes == 1 and policy.sharing.linear
        codecs = [(self.basis[k], self.quantizer[k]) for k in groups.kind]
        self._alike = []  # (groups, basis, quantizer) of neighbours that encode alike
        for _, run in groupby(range(len(codecs)), key=lambda g: codecs[g]):
            several = list(run)
            self._alike.append((slice(several[0], several[-1] + 1), *codecs[several[0]]))
        self._asked: dict[tuple[int, int, int], int] = {}
        self._tables: dict[tuple[int, int, int], Ints] = {}
        self._once = self._sequence_bytes()

    # -- what rests --------------------------------------------------------------------------------------------------

    def stored(self, kept: Ints) -> Ints:
        """Stored bytes over all layers [S], metadata included, pages not rounded up."""
        total: Ints = self._in_tokens(kept) + self.policy.placement.own_bytes(self._head_tokens(kept), self.geo)
        return total

    def resting(self, kept: Ints) -> Resting:
        """The same for a placement to share out."""
        return Resting(self._in_tokens(kept), self._index(kept.sum(axis=1)), self._head_tokens(kept))

    def _in_tokens(self, kept: Ints) -> Ints:
        total = self._everywhere(kept, self._row_bytes, self._joint_bytes)
        return self._with_the_rest(total, kept.sum(axis=1))

    def _head_tokens(self, kept: Ints) -> Ints:
        found: Ints = (self.groups.layers * self.groups.heads) @ kept.sum(axis=1)
        return found

    def _index(self, tokens: Ints) -> Ints:
        """Bytes of the selection's index [S] of tokens by group [G, S]."""
        if not self.policy.selection.selects:
            return np.zeros(tokens.shape[1], np.int64)
        found: Ints = self._holders @ self._by_kind_of(self.policy.selection.index_bytes, tokens)
        return found

    def keys_and_values(self, kept: Ints) -> tuple[Ints, Ints]:
        """Of the stored bytes, those of keys and of values without any metadata [S]."""
        dims, totals = (self.geo.key_dim, self.geo.value_dim), np.zeros((2, kept.shape[2]), np.int64)
        for copies, part in self._segments(kept):
            for groups, basis, quantizer in self._alike:
                weights = (copies * self.rows)[groups]
                for c in range(part.shape[1]):
                    found = basis.of_class(c).bytes(quantizer.of_class(c), part[groups, c], *dims)
                    totals += np.stack([weights @ found.key, weights @ found.value])
        return totals[0], totals[1]

    def set_aside(self, kept: Ints) -> Resting:
        """Bytes that an engine sets aside, for a placement to share out: tokens in whole blocks."""
        whole = -(-kept.sum(axis=1, keepdims=True) // self.block) * self.block
        return Resting(self.allocated(kept), self._index(whole[:, 0]), self._head_tokens(whole))

    def allocated(self, kept: Ints) -> Ints:
        """Bytes that an engine sets aside over all layers [S]."""
        if self._page_bytes is not None:
            pages = -(-kept[:, 0] // self.block)
            proportional: Ints = self._page_bytes @ pages
            return proportional
        whole = -(-kept.sum(axis=1) // self.block) * self.block
        total = self._everywhere(kept, self._row_allocated, lambda part: self._joint_bytes(part, self.block))
        return self._with_the_rest(total, whole)

    @cached_property
    def _page_bytes(self) -> Ints | None:
        """Bytes of a page by group, all its layers, where nothing else is allocated: encodings that are linear."""
        policy = self.policy
        masks = any(basis.metadata_bytes(self.geo.key_dim) for basis in self.basis)
        if not self.linear or self.shares or policy.selection.selects or masks or self._once:
            return None
        page = np.full((len(self.rows), 1, 1), self.block)
        slot = policy.retention.slot_bytes(self.geo) * self.block
        found: Ints = self.groups.layers * (self.rows * self._row_allocated(page)[:, 0] + self.groups.heads * slot)
        return found

    def _with_the_rest(self, total: Ints, tokens: Ints) -> Ints:
        """Adds what every layer holds for itself, and what a sequence holds once."""
        slot = self.policy.retention.slot_bytes(self.geo)
        own = slot * tokens if slot else None
        if self.shares:
            own = self._by_kind_of(self.policy.sharing.layer_bytes, tokens) + (0 if own is None else own)
        if own is not None:
            total = total + self._holders @ own
        if self.policy.selection.selects:
            total = total + self._index(tokens)
        return total + self._once * (tokens.max(axis=0) > 0) if self._once else total

    def _sequence_bytes(self) -> int:
        """Bytes that a sequence holds once; a retention's are so many a layer, of those that have slots."""
        total = sum(trait.sequence_bytes(self.geo) for trait in self.policy.traits)
        own = self.policy.retention.sequence_bytes(self.geo)
        holders = sum(self.policy.sharing.holders(kind) for kind in self.kinds)
        return total - own + own * holders // self.geo.model.layers

    @cached_property
    def _holders(self) -> Ints:
        """Heads of a group over all layers that have slots of their own [G]."""
        layers = [self.policy.sharing.holders(self.kinds[k]) for k in self.groups.kind]
        found: Ints = np.array(layers, np.int64) * self.groups.heads
        return found

    def _everywhere(self, kept: Ints, rows: Callable[[Ints], Ints], joint: Callable[[Ints], Ints]) -> Ints:
        """Bytes [S] over all layers and heads of what is encoded, shared rows once."""
        layers = self.groups.layers
        if not self.shares:
            total: Ints = (layers * self.rows) @ rows(kept)
            if self.policy.quantizer.joint:
                total = total + layers @ joint(kept)
            return total
        sum_: Ints = np.zeros(kept.shape[2], np.int64)
        for copies, part in self._segments(kept):
            sum_ = sum_ + (copies * self.rows) @ rows(part)
            if self.policy.quantizer.joint:
                sum_ = sum_ + copies @ joint(part)
        return sum_

    def _segments(self, kept: Ints) -> list[tuple[Ints, Ints]]:
        """(copies [G], tokens [G, C, S]) of what sharing makes of kept tokens."""
        if not self.shares:
            return [(self.groups.layers, kept)]
        each = [self.policy.sharing.segments(self.geo, self.kinds[k], kept[g]) for g, k in enumerate(self.groups.kind)]
        most, none = max(map(len, each)), (0, np.zeros_like(kept[0]))
        padded = [[*segments, *[none] * (most - len(segments))] for segments in each]
        return [
            (np.array([s[i][0] for s in padded], np.int64), np.stack([s[i][1] for s in padded])) for i in range(most)
        ]

    # -- what a decode step reads ------------------------------------------------------------------------------------

    def read(self, kept: Ints) -> Ints:
        """Tokens that attention reads [G, C, S]."""
        return self._by_kind_of(lambda _, kind, tokens: self.policy.selection.read(kind, tokens), kept)

    def scanned(self, kept: Ints) -> Ints:
        """Index entries of one kv head [G, S] that the selection compares."""
        return self._by_kind_of(lambda _, kind, tokens: self.policy.selection.scanned(kind, tokens), kept)

    def read_bytes(self, read: Ints) -> Ints:
        """Bytes [G, S] that attention reads in one layer."""
        total: Ints | None = None
        for _, part in self._segments(read):
            each = self.rows[:, None] * self._row_bytes(part)
            if self.policy.quantizer.joint:
                each += self._joint_bytes(part)
            total = each if total is None else total + each
        assert total is not None  # there is at least one segment
        if self.shares:
            own = self._by_kind_of(self.policy.sharing.layer_bytes, read.sum(axis=1))
            total = total + self.groups.heads[:, None] * own
        return total

    @cached_property
    def rebuilds(self) -> bool:
        """Whether attention rebuilds rows from another basis."""
        return any(basis.rebuild_flops(self.geo) for basis in self.basis)

    def reading(self, read: Ints) -> tuple[Ints, ...]:
        """(bytes, instructions, and where there are any rebuilt head-tokens) [G, S] of one layer's attention."""
        found = self.read_bytes(read), self.rows[:, None] * self._encoded(read, WORK)
        if not self.rebuilds:
            return found
        return *found, self.groups.heads[:, None] * self._encoded(read, REBUILT)

    def fetched(self, kept: Ints, read: Ints) -> Ints:
        """Bytes [S] that a cache resting elsewhere brings in a decode step."""
        if not self.policy.selection.selects:
            return self._in_tokens(kept)
        missed = self._by_kind_of(lambda _, kind, tokens: self.policy.selection.recalled(kind, tokens), read)
        moved: Ints = self.groups.layers @ self.read_bytes(missed)
        return moved

    def work_of(self, k: int, tokens: Ints) -> Ints:
        """Instructions for tokens of one kv head in a layer of kind k, of class 0."""
        return self.basis[k].work(self.quantizer[k].of_class(0), tokens, self.geo.key_dim, self.geo.value_dim)

    @cached_property
    def token_bytes(self) -> list[int]:
        """By kind: bytes that attention reads for one more token of one kv head."""
        tokens = np.broadcast_to(np.array([MANY, 2 * MANY]), (len(self.rows), 1, 2))
        grown = np.diff(self.groups.by_kind(self.read_bytes(tokens)), axis=1)[:, 0]
        return [int(more) // (MANY * sum(kind.heads)) for more, kind in zip(grown, self.kinds, strict=True)]

    # -- one encoded row ---------------------------------------------------------------------------------------------

    def _row_bytes(self, kept: Ints) -> Ints:
        """Stored bytes of one row of heads in one layer [G, S], what its basis needs included."""
        return self._masked(kept, BYTES)

    def _row_allocated(self, kept: Ints) -> Ints:
        """Bytes that an engine sets aside for the same."""
        return self._masked(kept, ALLOCATED)

    def _joint_bytes(self, kept: Ints, block: int = 1) -> Ints:
        """Metadata of one layer [G, S] that its heads share."""
        return self._encoded(-(-kept // block) * block, JOINT)

    def _masked(self, kept: Ints, what: int) -> Ints:
        total = self._encoded(kept, what)
        if self._masks is not None:
            total = total + self._masks[:, None] * (kept.sum(axis=1) > 0)
        return total

    @cached_property
    def _masks(self) -> Ints | None:
        """Metadata of a row by group, if there is any."""
        masks = np.array([self.basis[k].metadata_bytes(self.geo.key_dim) for k in self.groups.kind], np.int64)
        return masks if masks.any() else None

    def _encoded(self, kept: Ints, what: int) -> Ints:
        """A figure of one row, summed over token classes [G, S]."""
        parts = []
        for i, (groups, basis, quantizer) in enumerate(self._alike):
            each = []
            for c in range(kept.shape[1]):
                tokens = kept[groups, c]
                asked = self._asked[what, i, c] = self._asked.get((what, i, c), 0) + tokens.size
                if asked >= TABULATED and (most := int(tokens.max())) < LONGEST:
                    each.append(self._tabulated(what, i, c, most).take(tokens))
                else:
                    each.append(self._of_row(what, basis.of_class(c), quantizer.of_class(c), tokens))
            parts.append(sum(each[1:], each[0]))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _tabulated(self, what: int, i: int, c: int, most: int) -> Ints:
        """A figure for 0, 1, 2, ... tokens: a figure of many groups and lengths is then looked up."""
        table = self._tables.get((what, i, c))
        if table is None or len(table) <= most:
            _, basis, quantizer = self._alike[i]
            tokens = np.arange(1 << max(13, most.bit_length()))
            table = self._tables[what, i, c] = self._of_row(what, basis.of_class(c), quantizer.of_class(c), tokens)
        return table

    def _of_row(self, what: int, basis: "Basis", quantizer: "Quantizer", tokens: Ints) -> Ints:
        """The figure from encoding arithmetic."""
        dims = self.geo.key_dim, self.geo.value_dim
        if what == BYTES:
            return basis.bytes(quantizer, tokens, *dims).total
        if what == ALLOCATED:
            return basis.allocated(quantizer, tokens, self.block, *dims)
        if what == WORK:
            return basis.work(quantizer, tokens, *dims)
        return basis.rebuilt(tokens) if what == REBUILT else quantizer.layer_bytes(self.geo, tokens)

    def _by_kind_of(self, of: Callable[[Geometry, LayerKind, Ints], Ints], values: Ints) -> Ints:
        """of(geo, kind, values of its groups), joined."""
        ends = [*self.groups.first[1:], len(self.rows)]
        return np.concatenate(
            [of(self.geo, kind, values[a:b]) for kind, a, b in zip(self.kinds, self.groups.first, ends, strict=True)]
        )
