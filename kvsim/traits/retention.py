"""Retention: which tokens stay, per budget group, while a prompt is read and at each decode step.

Token counts are integers. `context` is an array of tokens seen so far (prompt and generated, the newest included);
results have a leading axis of groups, then one of token classes: shape [G, C, *context.shape].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, gemm
from kvsim.cost.op import Num, Op

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Retention:
    """Every token stays: the null retention, and what others override."""

    classes = 1  # token classes, each with its own encoding
    slot_bytes = 0  # metadata of one kept token and kv head, besides the encoding's

    def kinds(self, geo: Geometry) -> tuple[LayerKind, ...]:
        """Budget groups: layer kinds, each with its kv heads by group. Default: the model's own, one group each."""
        return geo.kinds

    def kept(self, prompt: int, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens that rest in the cache once `context` tokens were seen, after a prompt of `prompt`."""
        groups = sum(len(kind.heads) for kind in kinds)
        return np.broadcast_to(context, (groups, 1, *context.shape))

    def start(self, prompt: int) -> int | None:
        """The context at which decoding starts on the curve kept(0, .), or None when kept depends on the prompt.

        A policy that cuts a prompt to c tokens and then keeps all it generates goes on like a prompt of c tokens.
        """
        return prompt

    def starts(self, prompt: Ints) -> Ints:
        """`start` of many prompts [N]."""
        return np.array([self.start(int(p)) for p in prompt], np.int64)

    def prefill_limit(self) -> int | None:
        """Tokens before it that a prompt token attends to, and that stay while the prompt is read; None for all."""
        return None

    def end_ops(self, geo: Geometry, kind: LayerKind, prompt: int, kv_bytes: Num) -> list[Op]:
        """Ops in each layer of `kind` when a prompt of `prompt` tokens (kv_bytes of cache) is complete."""
        return []

    def decode_ops(self, geo: Geometry, kind: LayerKind, queries: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Ops in each layer of `kind` at a decode step: affine in sequences, kept head-tokens and cache bytes."""
        return []

    def chunk_ops(self, geo: Geometry, kind: LayerKind, new: Num, pairs: Num) -> list[Op]:
        """Ops in each layer of `kind` for a prefill chunk: affine in new tokens and query-key pairs of one head."""
        return []


@dataclass(frozen=True)
class SinksAndWindow(Retention):
    """The first `sinks` and the last `window` tokens. With `copies`, each step concatenates the cache anew."""

    sinks: int
    window: int
    copies: bool = False

    def kept(self, prompt: int, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """min(context, sinks + window) in every group."""
        return super().kept(prompt, np.minimum(context, self.sinks + self.window), kinds)

    def prefill_limit(self) -> int | None:
        """A prompt is read under the same mask."""
        return self.sinks + self.window

    def decode_ops(self, geo: Geometry, kind: LayerKind, queries: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """A ring buffer costs nothing; `copies` reads and writes the cache and rotates all its keys again."""
        if not self.copies:
            return []
        rotary = tokens * geo.key_dim * 2 * 2.0
        return [elementwise("evict_copy", 2 * kv_bytes + rotary, launches=3, count=kind.layers)]


@dataclass(frozen=True)
class HeavyHitters(Retention):
    """H2O: `heavy` x prompt tokens of largest accumulated attention and `recent` x prompt newest ones, per kv head."""

    heavy: float
    recent: float
    copies: bool = False
    slot_bytes = 4  # one fp32 score a slot

    def kept(self, prompt: int, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """A fixed number of slots for the whole generation."""
        slots = max(1, int(self.heavy * prompt)) + max(1, int(self.recent * prompt))
        return super().kept(prompt, np.minimum(context, slots), kinds)

    def start(self, prompt: int) -> int | None:
        """The budget follows the prompt."""
        return None

    def chunk_ops(self, geo: Geometry, kind: LayerKind, new: Num, pairs: Num) -> list[Op]:
        """Column sums of the softmax: a second pass of scores (fused), or the score matrix written and read thrice."""
        if self.copies:
            moved = pairs * geo.query_heads * 4.0 * 4
            return [elementwise("score_matrix", moved, launches=4, count=kind.layers)]
        flops = pairs * (2 * geo.key_dim * geo.query_heads)
        return [Op("score_sums", "attention_prefill", "gpu", {"bf16": flops}, new * 8.0 * geo.kv_heads, 1, kind.layers)]

    def decode_ops(self, geo: Geometry, kind: LayerKind, queries: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Scores leave the attention kernel, are added to the sums, and the smallest slot is overwritten."""
        scores = tokens * (2.0 * geo.queries_per_kv_head + 2 * self.slot_bytes)
        ops = [elementwise("score_update", scores, launches=2, count=kind.layers)]
        if self.copies:
            ops.append(elementwise("evict_copy", 2 * kv_bytes, launches=4, count=kind.layers))
        return ops


@dataclass(frozen=True)
class PromptBudget(Retention):
    """SnapKV: at prefill's end `capacity` tokens of the prompt stay, chosen by its last `window` queries."""

    capacity: int
    window: int
    copies_per_head: bool = False

    def kinds(self, geo: Geometry) -> tuple[LayerKind, ...]:
        """With `copies_per_head` the cache holds every query head (repeat_kv before caching)."""
        if not self.copies_per_head:
            return geo.kinds
        return tuple(LayerKind(kind.layers, (geo.query_heads,), kind.window) for kind in geo.kinds)

    def kept(self, prompt: int, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """The cut prompt and everything generated since."""
        return super().kept(prompt, context - max(0, prompt - self.capacity), kinds)

    def start(self, prompt: int) -> int | None:
        """Goes on like a prompt of min(prompt, capacity) tokens."""
        return min(prompt, self.capacity)

    def end_ops(self, geo: Geometry, kind: LayerKind, prompt: int, kv_bytes: Num) -> list[Op]:
        """Window queries against all keys, softmax and pooling over their scores, top-k, gather of the kept rows."""
        if prompt <= self.capacity:
            return []
        heads, layers = geo.query_heads, kind.layers
        window = min(self.window, prompt)
        rows, keys = window * geo.queries_per_kv_head, prompt * geo.kv_heads
        score = gemm("window_scores", rows, keys, geo.key_dim, count=layers)
        pool = elementwise("window_votes", 4.0 * heads * window * prompt * 3, launches=5, count=layers)
        gather = elementwise("gather_kept", 2 * kv_bytes * (self.capacity / prompt), launches=2, count=layers)
        return [score, pool, gather]
