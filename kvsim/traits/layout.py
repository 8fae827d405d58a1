"""A policy laid out for one model on one chip: exact bytes and tokens of a sequence at every length.

The engine keeps sums of these rows over the running sequences (its ledger), one column a decode step:

    tokens[k]  head-tokens attended to in one layer of kind k (kv heads summed)
    bytes[k]   cache bytes read in one layer of kind k          (only when not proportional to tokens)
    work[k]    elements that its reader must dequantize          (likewise)
    hbm        bytes allocated in HBM, all layers
    home, link bytes allocated in the tier where the cache rests, bytes fetched from it (only when that is not HBM)
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import cut
from kvsim.specs.model import Model
from kvsim.traits.placement import HBM
from kvsim.traits.policy import Policy

Ints = NDArray[np.int64]
_GROW = 4096


class Layout:
    """The arithmetic of one policy, model and tensor-parallel cut. All figures are of one chip."""

    def __init__(self, policy: Policy, model: Model, tp: int, block_tokens: int) -> None:
        self.policy, self.block_tokens = policy, block_tokens
        self.geo = geo = cut(model, tp)
        self.kinds = policy.retention.kinds(geo)
        self.key_dim, self.value_dim = policy.basis.key_dim(geo.key_dim), policy.basis.value_dim(geo.value_dim)
        self.linear = policy.quantizer.linear
        self.offloaded = policy.placement.units(geo) > 0
        self.hbm_row = len(self.kinds) * (1 if self.linear else 3)
        self.rows = self.hbm_row + (3 if self.offloaded else 1)
        self.home_row = self.hbm_row + (1 if self.offloaded else 0)
        self.link_row = self.hbm_row + 2
        self._curve: Ints = np.zeros((self.rows, 0), np.int64)
        self._prefill: Ints = np.zeros((2, 0), np.int64)

    @cached_property
    def head_token_bytes(self) -> int:
        """Stored bytes of one token of one kv head in one layer, outside any residual window."""
        quantizer, many = self.policy.quantizer, np.array([1 << 20], np.int64)
        parts = quantizer.bytes(2 * many, self.key_dim, self.value_dim).total
        parts = parts - quantizer.bytes(many, self.key_dim, self.value_dim).total
        return int(parts[0]) // (1 << 20) + self.policy.retention.slot_bytes

    @property
    def read_token_bytes(self) -> int:
        """The same without the retention's own metadata, which attention does not read."""
        return self.head_token_bytes - self.policy.retention.slot_bytes

    @cached_property
    def block_bytes(self) -> int:
        """Bytes of one block of tokens over all layers, in the cache's home tier."""
        two = self.prefill_allocated(np.array([self.block_tokens, 2 * self.block_tokens], np.int64))[-1]
        return int(two[1] - two[0])

    @property
    def moved_token_bytes(self) -> int:
        """Bytes of one token over all layers that do not stay in HBM: what placement moves for it."""
        whole = self.geo.kv_heads * self.head_token_bytes * self.geo.model.layers
        return self.policy.placement.moved(whole, self.geo)

    @property
    def static_bytes(self) -> int:
        """Bytes once a chip."""
        return self.policy.quantizer.static_bytes(self.geo.model.layers, self.geo.kv_heads)

    def columns(self, prompt: int, context: Ints) -> Ints:
        """The rows for each context in an array [S]: int64 [rows, S]."""
        kept = self._windowed(self.policy.retention.kept(prompt, context, self.kinds))
        return self._columns(kept)

    def rows_at(self, prompt: Ints, context: Ints) -> Ints:
        """The rows [rows, N] of N sequences, each by its prompt and its context."""
        if self.policy.retention.start(1) is None:
            each = [self.columns(int(p), np.array([c])) for p, c in np.broadcast(prompt, context)]
            return np.concatenate(each, axis=1)
        return self.columns(0, self.policy.retention.starts(prompt) + (context - prompt))

    def demand(self, prompt: int, steps: int) -> Ints:
        """The rows of `steps` decode steps after a prompt: contexts prompt + 1 ... prompt + steps."""
        start = self.policy.retention.start(prompt)
        if start is None:
            return self.columns(prompt, np.arange(prompt + 1, prompt + steps + 1))
        end = start + steps + 1
        if end > self._curve.shape[1]:
            self._curve = self.columns(0, np.arange(max(end + _GROW, 2 * self._curve.shape[1])))
        return self._curve[:, start + 1 : end]

    def allocated_while_prefilling(self, tokens: "int | Ints") -> Ints:
        """[2] or [2, S] bytes allocated in HBM and in the home tier once `tokens` prompt tokens were read."""
        most = tokens if isinstance(tokens, int) else int(tokens.max())
        if most >= self._prefill.shape[1]:
            self._prefill = self.prefill_allocated(np.arange(max(most + _GROW, 2 * self._prefill.shape[1])))
        return self._prefill[:, tokens]

    def prefill_allocated(self, tokens: Ints) -> Ints:
        """[2, S] bytes in HBM and in the home tier while a prompt is read: before anything is evicted at its end."""
        limit = self.policy.retention.prefill_limit()
        kept = tokens if limit is None else np.minimum(tokens, limit)
        groups = sum(len(kind.heads) for kind in self.kinds)
        rows = self._columns(self._windowed(np.broadcast_to(kept, (groups, 1, *tokens.shape))))
        return np.stack([rows[self.hbm_row], rows[self.home_row]])

    def largest_allocated(self, prompt: Ints, context: Ints) -> tuple[Ints, Ints]:
        """(HBM, home) bytes that requests [N] allocate at their largest: at prefill's end, or at `context` tokens."""
        reading = self.allocated_while_prefilling(prompt)
        last = self.rows_at(prompt, context)
        hbm, home = last[self.hbm_row], last[self.home_row]
        return np.maximum(hbm, reading[0]), np.maximum(home, reading[1])

    def stored(self, prompt: Ints, context: Ints) -> Ints:
        """Stored bytes of sequences [N] over all layers of this chip, metadata included, pages not rounded up."""
        retention = self.policy.retention
        if retention.start(1) is not None:
            kept = retention.kept(0, retention.starts(prompt) + (context - prompt), self.kinds)
        else:
            each = [retention.kept(int(p), np.array([c]), self.kinds) for p, c in zip(prompt, context, strict=True)]
            kept = np.concatenate(each, axis=-1)
        kept, total, group = self._windowed(kept), np.zeros(context.shape, np.int64), 0
        for kind in self.kinds:
            for heads in kind.heads:
                total = total + kind.layers * heads * self._head_bytes(kept[group])
                group += 1
        return total

    def _windowed(self, kept: Ints) -> Ints:
        """Sliding-window layers hold at most their window."""
        if all(kind.window is None for kind in self.kinds):
            return kept
        widest = np.iinfo(np.int64).max
        windows = [kind.window or widest for kind in self.kinds for _ in kind.heads]
        return np.minimum(kept, np.array(windows, np.int64).reshape(-1, *[1] * (kept.ndim - 1)))

    def _head_bytes(self, kept: Ints) -> Ints:
        """Stored bytes of one kv head in one layer from its tokens by class [C, ...]."""
        quantizer, basis = self.policy.quantizer, self.policy.basis
        total = np.zeros(kept.shape[1:], np.int64)
        for index, tokens in enumerate(kept):
            total = total + quantizer.of_class(index).bytes(tokens, self.key_dim, self.value_dim).total
        tokens = kept.sum(axis=0)
        total = total + tokens * self.policy.retention.slot_bytes
        whole: Ints = total + basis.metadata_bytes(self.geo.key_dim) * (tokens > 0)
        return whole

    def _head_allocated(self, kept: Ints) -> Ints:
        """Bytes an engine sets aside for the same."""
        quantizer, block, basis = self.policy.quantizer, self.block_tokens, self.policy.basis
        total = np.zeros(kept.shape[1:], np.int64)
        for index, tokens in enumerate(kept):
            total = total + quantizer.of_class(index).allocated(tokens, block, self.key_dim, self.value_dim)
        tokens = kept.sum(axis=0)
        slots = -(-tokens // block) * block * self.policy.retention.slot_bytes
        total = total + slots
        whole: Ints = total + basis.metadata_bytes(self.geo.key_dim) * (tokens > 0)
        return whole

    def _columns(self, kept: Ints) -> Ints:
        """Rows from kept tokens [G, C, S]."""
        rows = np.zeros((self.rows, *kept.shape[2:]), np.int64)
        count, group, quantizer = len(self.kinds), 0, self.policy.quantizer
        allocated = np.zeros(kept.shape[2:], np.int64)
        moved = np.zeros(kept.shape[2:], np.int64)
        for k, kind in enumerate(self.kinds):
            for heads in kind.heads:
                part = kept[group]
                rows[k] += heads * part.sum(axis=0)
                allocated += kind.layers * heads * self._head_allocated(part)
                if not self.linear or self.offloaded:
                    stored = heads * self._head_bytes(part)
                    moved += kind.layers * stored
                if not self.linear:
                    rows[count + k] += stored
                    for index, tokens in enumerate(part):
                        work = quantizer.of_class(index).quantized(tokens, self.key_dim, self.value_dim)
                        rows[2 * count + k] += heads * work
                group += 1
        tiers = self.policy.placement.rest(allocated, self.geo)
        rows[self.hbm_row] = tiers[HBM]
        if self.offloaded:
            placement = self.policy.placement
            rows[self.hbm_row + 1], rows[self.hbm_row + 2] = tiers[placement.home], placement.fetched(moved, self.geo)
        return rows
