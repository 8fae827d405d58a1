"""A policy laid out for one model on one chip: exact bytes and tokens of a sequence at every length.

The engine keeps sums of these rows over the running sequences (its ledger), one column a decode step. For each layer
kind k, in one of its layers, kv heads summed:

    tokens[k]   head-tokens attended to
    bytes[k]    cache bytes read                             (only when not proportional to tokens)
    work[k]     instructions that make operands of them      (likewise)
    rebuilt[k]  head-tokens rebuilt from another basis       (likewise, if there is one)
    kept[k]     head-tokens that rest in the cache           (only when a selection reads a part of them)
    scanned[k]  index entries compared with the queries      (likewise)

and of all layers

    hbm         bytes allocated in HBM
    home, link  bytes allocated in the tier where the cache rests, bytes fetched from it (only when that is not HBM)
"""

from dataclasses import replace
from functools import cached_property
from math import lcm

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import LayerKind, cut
from kvsim.cost.op import Num
from kvsim.specs.model import Model
from kvsim.traits.curves import GROW, Curves
from kvsim.traits.encoding import Parts
from kvsim.traits.groups import Groups, layer_kinds
from kvsim.traits.holdings import MANY, Holdings
from kvsim.traits.placement import HBM
from kvsim.traits.policy import Policy
from kvsim.traits.trait import Decode

Ints = NDArray[np.int64]
_AT_ONCE = 1 << 20  # counts of tokens by group that are worked on at once


class Layout:
    """The arithmetic of one policy, model and tensor-parallel cut. All figures are of one chip."""

    def __init__(self, policy: Policy, model: Model, tp: int, block_tokens: int) -> None:
        self.policy, self.block_tokens = policy, block_tokens
        geo = cut(model, tp)
        self.geo = geo = replace(
            geo,
            kv_columns=policy.basis.kv_columns(geo),
            unprojected_layers=policy.sharing.unprojected_layers(geo),
        )
        self.kinds = layer_kinds(policy, geo)
        self._number = {kind.index: k for k, kind in enumerate(self.kinds)}
        self.groups = Groups.of(self.kinds)
        self.holdings = Holdings(policy, geo, self.kinds, self.groups, block_tokens)
        self.linear, self.selects = self.holdings.linear, policy.selection.selects
        self.measures = (
            "tokens",
            *(() if self.linear else ("kv_bytes", "work")),
            *(("rebuilt",) if self.holdings.rebuilds and not self.linear else ()),
            *(("kept", "scanned") if self.selects else ()),
        )
        self.offloaded = policy.placement.units(geo) > 0
        self.hbm_row = len(self.kinds) * len(self.measures)
        self.rows = self.hbm_row + (3 if self.offloaded else 1)
        self.home_row = self.hbm_row + (1 if self.offloaded else 0)
        self.link_row = self.hbm_row + 2
        self._curves = Curves(policy.retention, self.rows, self.columns, self.rows_at)
        self._prefill: Ints = np.zeros((2, 0), np.int64)

    # -- of one token ------------------------------------------------------------------------------------------------

    def token_bytes(self, kind: LayerKind) -> int:
        """Bytes that a decode step reads for one more token of one kv head in a layer of `kind`, without selection."""
        return self.holdings.token_bytes[self._number[kind.index]]

    def token_work(self, kind: LayerKind) -> int:
        """Instructions that make operands of one more token of one kv head there."""
        two = self.holdings.work_of(self._number[kind.index], np.array([MANY, 2 * MANY]))
        return int(two[1] - two[0]) // MANY

    def kind_of(self, layer: int) -> LayerKind:
        """The kind that a layer is of."""
        return next(kind for kind in self.kinds if layer in kind.index)

    @cached_property
    def moved_token_bytes(self) -> int:
        """Bytes of one token over all layers that do not stay in HBM: what placement moves for it."""
        two = self.holdings.resting(self._everywhere(np.array([MANY, 2 * MANY], np.int64))).rows
        return self.policy.placement.moved(int(two[1] - two[0]) // MANY, self.geo)

    @property
    def past_token_bytes(self) -> int:
        """Of those, what a prefill chunk fetches for each token of its past."""
        return self.moved_token_bytes if self.policy.placement.fetches_past else 0

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of one block of tokens over all layers, in the cache's home tier; of the widest token class."""
        whole = lcm(self.block_tokens, self.policy.quantizer.period)  # encodings may allocate blocks of their own
        two, classes = self._windowed(self._everywhere(np.array([whole, 2 * whole], np.int64))), []
        for index in range(self.policy.retention.classes):
            kept = np.zeros((len(two), self.policy.retention.classes, 2), np.int64)
            kept[:, index] = two[:, 0]
            classes.append(int(np.diff(self._columns(kept, kept)[self.home_row])[0]))
        return max(classes) * self.block_tokens // whole

    @cached_property
    def static_bytes(self) -> int:
        """Bytes once a chip."""
        return sum(trait.static_bytes(self.geo) for trait in self.policy.traits)

    def sums(self, k: int, sequences: Num, rows: "list[Num] | tuple[Num, ...]") -> Decode:
        """What a decode step does in a layer of kind k, from the kind's ledger rows in the order of `measures`."""
        found = dict(zip(self.measures, rows, strict=True))
        if self.linear:
            tokens, basis = found["tokens"], self.holdings.basis[k]
            one = np.ones(1, np.int64)
            found["kv_bytes"] = tokens * self.holdings.token_bytes[k]
            found["work"] = tokens * int(self.holdings.work_of(k, one)[0])
            found["rebuilt"] = tokens * int(basis.rebuilt(one)[0])
        found.setdefault("rebuilt", 0 * found["tokens"])
        found.setdefault("kept", found["tokens"])
        return Decode(sequences, **found)

    # -- of a sequence -----------------------------------------------------------------------------------------------

    def columns(self, prompt: "int | Ints", context: Ints) -> Ints:
        """The rows for each context in an array [S], after a prompt or [S] prompts: int64 [rows, S]."""
        retention = self.policy.retention
        kept = self._windowed(retention.kept(prompt, context, self.kinds))
        if retention.period == 1:
            return self._columns(kept, kept)
        return self._columns(kept, self._windowed(retention.reserved(prompt, context, self.kinds)))

    def rows_at(self, prompt: Ints, context: Ints) -> Ints:
        """The rows [rows, N] of N sequences, each by its prompt and its context."""
        return self._in_parts(self.columns, self.rows, prompt, context)

    def demand(self, prompt: int, steps: int) -> Ints:
        """The rows of `steps` decode steps after a prompt: contexts prompt + 1 ... prompt + steps."""
        return self._curves.after(prompt, steps)

    def expect(self, prompts: Ints, outputs: Ints) -> None:
        """Requests in the order in which they come, whose rows will be asked for."""
        self._curves.expect(prompts, outputs)

    def allocated_while_prefilling(self, tokens: "int | Ints") -> Ints:
        """[2] or [2, S] bytes allocated in HBM and in the home tier once `tokens` prompt tokens were read."""
        most = tokens if isinstance(tokens, int) else int(tokens.max())
        if most >= self._prefill.shape[1]:
            self._prefill = self.prefill_allocated(np.arange(max(most + GROW, 2 * self._prefill.shape[1])))
        return self._prefill[:, tokens]

    def prefill_allocated(self, tokens: Ints) -> Ints:
        """[2, S] bytes in HBM and in the home tier while a prompt is read: before anything is evicted at its end.

        Where less is held meanwhile than at its end, room for that is set aside.
        """
        shares = np.array([self.policy.prefill.passes(self.geo, layer) for layer in self.groups.layer])

        def columns(_: Ints, tokens: Ints) -> Ints:
            held = self._everywhere(tokens)
            if self.passes:
                held = np.ceil(held * shares[:, None, None]).astype(np.int64)
            held = self._windowed(np.minimum(held, self._limits[:, None, None]))
            return self._columns(held, held)

        rows = self._in_parts(columns, self.rows, tokens, tokens)
        if self.passes or self.policy.retention.classes > 1 or self._limits.min() < np.iinfo(np.int64).max:
            begun = self.rows_at(tokens, tokens)
            rows = np.maximum(rows, begun * (tokens > 0))
        rows[self.hbm_row] += self.policy.prefill.held_bytes(self.geo, tokens)
        return np.stack([rows[self.hbm_row], rows[self.home_row]])

    def largest_allocated(self, prompt: Ints, context: Ints) -> tuple[Ints, Ints]:
        """(HBM, home) bytes that requests [N] allocate at their largest: at prefill's end, or at `context` tokens."""
        reading = self.allocated_while_prefilling(prompt)
        last = self.rows_at(prompt, context)
        hbm, home = last[self.hbm_row], last[self.home_row]
        return np.maximum(hbm, reading[0]), np.maximum(home, reading[1])

    def stored(self, prompt: Ints, context: Ints) -> Ints:
        """Stored bytes of sequences [N] over all layers of this chip, metadata included, pages not rounded up."""

        def stored(prompt: Ints, context: Ints) -> Ints:
            return self.holdings.stored(self.kept(prompt, context))[None]

        total: Ints = self._in_parts(stored, 1, *np.broadcast_arrays(prompt, context))[0]
        return total

    def parts(self, prompt: Ints, context: Ints) -> Parts:
        """Stored bytes of keys, of values, and of all else [N]."""
        kept = self.kept(prompt, context)
        key, value = self.holdings.keys_and_values(kept)
        return Parts(key, value, self.holdings.stored(kept) - key - value)

    def kept(self, prompt: "int | Ints", context: Ints) -> Ints:
        """Tokens by group and class [G, C, S] that rest in the cache."""
        return self._windowed(self.policy.retention.kept(prompt, context, self.kinds))

    # -- arithmetic --------------------------------------------------------------------------------------------------

    def prefill_limit(self, kind: LayerKind, group: int) -> int | None:
        """Keys that a prompt's token sees at most, in a head group of a kind."""
        limits = (kind.window, self.policy.retention.prefill_limit(self.geo, kind, group))
        return min((limit for limit in limits if limit is not None), default=None)

    def reading(self, kind: LayerKind) -> list[tuple[int | None, LayerKind]]:
        """What tokens of a prompt see at most, and the heads of the kind's layers that see it."""
        found: dict[int | None, tuple[int, ...]] = {}
        for group, heads in enumerate(kind.heads):
            seen = self.prefill_limit(kind, group)
            found[seen] = (*found.get(seen, ()), heads)
        return [(seen, LayerKind(kind.layers, heads, seen, kind.index)) for seen, heads in found.items()]

    @cached_property
    def passes(self) -> tuple[tuple[int, float], ...]:
        """(layers, share of a chunk's tokens that pass through them); nothing where all pass through all."""
        prefill, found = self.policy.prefill, dict[float, int]()
        for layer in range(self.geo.model.layers):
            share = prefill.passes(self.geo, layer)
            found[share] = found.get(share, 0) + 1
        return () if set(found) == {1.0} else tuple((layers, share) for share, layers in found.items())

    @cached_property
    def _limits(self) -> Ints:
        """The same for all groups [G]."""
        none = np.iinfo(np.int64).max
        of = self.policy.retention.prefill_limit
        limits = [of(self.geo, kind, g) for kind in self.kinds for g in range(len(kind.heads))]
        return np.array([none if limit is None else limit for limit in limits], np.int64)

    def _everywhere(self, tokens: Ints) -> Ints:
        """The same tokens [S] in every group, all of class 0: [G, 1, S]."""
        return np.broadcast_to(tokens, (len(self.groups.heads), 1, *tokens.shape))

    def _windowed(self, kept: Ints) -> Ints:
        """Sliding-window layers hold at most their window."""
        if self.groups.windows is None:
            return kept
        return np.minimum(kept, self.groups.windows[:, None, None])

    def _in_parts(self, rows_of, rows: int, prompt: Ints, context: Ints) -> Ints:  # type: ignore[no-untyped-def]
        """rows_of(prompt, context) over [N], in parts that keep the arrays in between small."""
        part = max(1, _AT_ONCE // len(self.groups.heads))
        if len(context) <= part:
            return rows_of(prompt, context)  # type: ignore[no-any-return]
        cuts = range(0, len(context), part)
        return np.concatenate([rows_of(prompt[i : i + part], context[i : i + part]) for i in cuts], axis=1)

    def _columns(self, kept: Ints, reserved: Ints) -> Ints:
        """Rows from kept tokens, and from those that slots are set aside for [G, C, S]."""
        holdings, groups, many = self.holdings, self.groups, len(self.kinds)
        rows = np.empty((self.rows, kept.shape[2]), np.int64)
        read = holdings.read(kept) if self.selects else kept
        tokens = read[:, 0] if read.shape[1] == 1 else read.sum(axis=1)
        found = [groups.by_kind(groups.heads[:, None] * tokens)]
        if not self.linear:
            found += [groups.by_kind(each) for each in holdings.reading(read)]
        if self.selects:
            whole = kept.sum(axis=1)
            found += [groups.by_kind(groups.heads[:, None] * each) for each in (whole, holdings.scanned(whole))]
        for i, each in enumerate(found):
            rows[i * many : (i + 1) * many] = each
        if not self.offloaded:
            rows[self.hbm_row] = holdings.allocated(reserved)
        else:
            placement, moved = self.policy.placement, holdings.fetched(kept, read)
            tiers = placement.rest(holdings.set_aside(reserved), self.geo)
            rows[self.hbm_row] = tiers[HBM]
            rows[self.hbm_row + 1], rows[self.hbm_row + 2] = tiers[placement.home], placement.fetched(moved, self.geo)
        return rows
