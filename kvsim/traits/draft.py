"""A draft model that reads the prompt first, and says what the model itself need keep, or read: SpecKV and SpecPC."""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from kvsim import find
from kvsim.cost.dense import body_ops, edge_ops, head_ops
from kvsim.cost.geometry import Geometry, LayerKind, cut
from kvsim.cost.kernels import ACTIVATION_BYTES, attention_prefill, elementwise, gemm, weights_read
from kvsim.cost.op import Num, Op
from kvsim.errors import UserError
from kvsim.traits.budgeted import Budgeted
from kvsim.traits.prefill import Ints, Prefill
from kvsim.traits.trait import Chunk, End
from kvsim.traits.votes import WindowVotes


@cache
def draft_geometry(name: str) -> Geometry:
    """A model that every chip runs whole.

    Raises:
        UserError: it has experts, whose weights are read by no rule that is proportional to tokens.
    """
    model = find.model(name)
    if model.experts:
        raise UserError(f"draft: {name} has experts; a draft must be dense, such as llama-3.2-1b")
    return cut(model, 1)


@dataclass(frozen=True)
class DraftFirst(Prefill):
    """The draft model `draft` reads each chunk, then writes `lookahead` tokens.

    Attributes:
        tokens: of the prompt that the model itself reads, those that the draft's attention chose; 0 for all of them.
        window: last queries of the draft that choose; pool: neighbours that share their scores; neighbours: tokens
            around a chosen one that are read with it; first: layer of the draft from which on scores count.
        appends: the model also reads what the draft wrote, whose queries then choose rows.
    """

    draft: str
    lookahead: int
    tokens: int = 0
    window: int = 0
    pool: int = 1
    neighbours: int = 0
    first: int = 0
    appends: bool = False

    def passes(self, geo: Geometry, layer: int) -> float:
        """The model waits for the choice."""
        return 0.0 if self.tokens else 1.0

    def static_bytes(self, geo: Geometry) -> int:
        """The draft's weights."""
        return int(draft_geometry(self.draft).model.weight_bytes)

    def held_bytes(self, geo: Geometry, tokens: Ints) -> Ints:
        """The draft's cache."""
        return tokens * draft_geometry(self.draft).model.kv_bytes_per_token

    def reading_ops(self, geo: Geometry, chunk: Chunk) -> list[Op]:
        """The draft's pass over a chunk, its weights apart from what grows with tokens."""
        own = draft_geometry(self.draft)
        width = own.kv_heads * (own.key_dim + own.value_dim) * ACTIVATION_BYTES
        moved = chunk.new * own.query_bytes + (chunk.past + chunk.new) * width
        flops = chunk.pairs * (1.0 * own.prefill_flops * own.query_heads)
        layers = own.model.layers
        dense, at_zero = ([*edge_ops(own, n), *body_ops(own, n)] for n in (chunk.new, 0))
        return [
            *_proportional(dense, at_zero),
            elementwise("draft_cache_write", chunk.new * (2 * width), 1, layers),
            attention_prefill("draft_attention", flops, moved, 1.0, layers, {}),
        ]

    def finishing_ops(self, geo: Geometry, end: End) -> list[Op]:
        """The draft's look-ahead and choice; what the model itself has yet to read."""
        prompt = np.asarray(end.prompt)[()]
        ops = [*self._ahead(prompt), *(self._choice(prompt) if self.tokens else [])]
        more = self.lookahead if self.appends else 0
        read = np.minimum(prompt, self.tokens)[()] if self.tokens else 0
        return ops + (_model_reads(geo, read, more, prompt) if self.tokens or more else [])

    def _ahead(self, prompt: Num) -> list[Op]:
        own = draft_geometry(self.draft)
        row = own.kv_heads * (own.key_dim + own.value_dim) * ACTIVATION_BYTES
        flops = prompt * (1.0 * own.decode_flops * own.query_heads)
        past = Op("attention", "attention_decode", "gpu", {"bf16": flops}, prompt * row, 1, own.model.layers)
        step = [*edge_ops(own, 1), *body_ops(own, 1), past, *head_ops(own, 1)]
        return [replace(op, name=f"draft_ahead_{op.name}").times(self.lookahead) for op in step]

    def _choice(self, prompt: Num) -> list[Op]:
        own = draft_geometry(self.draft)
        layers, rows = own.model.layers - self.first, self.window * own.queries_per_kv_head
        scores = prompt * (4.0 * own.query_heads * self.window)
        return [
            gemm("draft_scores", rows, prompt * own.kv_heads, own.key_dim, count=layers),
            elementwise("draft_votes", 3 * scores, 5, layers),
        ]


def _proportional(ops: list[Op], at_zero: list[Op]) -> list[Op]:
    """Ops as weights that are read whatever the chunk, and what is proportional to its tokens; no curve prices them."""
    found = []
    for op, zero in zip(ops, at_zero, strict=True):
        if zero.bytes:
            found.append(weights_read(f"draft_{op.name}_weights", float(zero.bytes), op.count))
        found.append(replace(op, name=f"draft_{op.name}", bytes=op.bytes - zero.bytes, shape={}))
    return found


def _model_reads(geo: Geometry, read: Num, more: int, prompt: Num) -> list[Op]:
    """The model reads `read` chosen tokens and `more` written ones, which see what was read before: all, if 0 now."""
    before = read if np.ndim(read) or read else prompt
    tokens = read + more
    pairs = read * (read + 1) / 2 + more * before + more * (more + 1) / 2
    width = geo.kv_heads * (geo.key_dim + geo.value_dim) * ACTIVATION_BYTES
    moved = tokens * geo.query_bytes + (before + more) * width
    layers = geo.model.layers
    return [
        *body_ops(geo, tokens),
        attention_prefill("attention_chosen", pairs * (geo.prefill_flops * geo.query_heads), moved, 1.0, layers, {}),
        elementwise("cache_write_chosen", tokens * (2 * width), 1, layers),
    ]


@dataclass(frozen=True)
class PromptCut(Budgeted):
    """The model never sees what is cut: nothing of it need be gathered or scored."""

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Nothing."""
        return []


@dataclass(frozen=True)
class VotesAmong(WindowVotes):
    """Votes over a prompt that was cut to `among` tokens before."""

    among: int = 0

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Of what was left of it."""
        return super().end_ops(geo, kind, replace(end, prompt=np.minimum(end.prompt, self.among)[()]))
