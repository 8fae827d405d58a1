"""Retention: which tokens stay, per budget group, while a prompt is read and at each decode step.

Token counts are integers. `context` is an array [S] of tokens seen so far (prompt and generated, the newest included),
`prompt` one number or as many; results are by head group and token class: [G, C, S], the groups of all kinds in order.
"""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.trait import Decode, Trait

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Retention(Trait):
    """Every token stays: the null retention, and what others override."""

    classes = 1  # token classes, each with its own encoding; a prompt's tokens are written as class 0
    by_head = False  # heads of a layer may keep different tokens
    aligned = True  # all layers keep the same tokens
    period = 1  # kept(n + period) >= kept(n) where nothing was evicted for good

    def slot_bytes(self, geo: Geometry) -> int:
        """Metadata of one kept token and kv head, besides the encoding's."""
        return 0

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        """Kv heads of a layer on this chip, by budget group. Default: one group."""
        return (geo.kv_heads,)

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens that rest in the cache once `context` tokens were seen, after a prompt of `prompt`."""
        return np.broadcast_to(context, (sum(len(kind.heads) for kind in kinds), 1, *context.shape))

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """Tokens that an engine sets slots aside for: as `kept`, but never fewer than a token earlier.

        Evictions in blocks make `kept` saw-tooth; a sequence keeps the slots that it will fill again.
        """
        return self.kept(prompt, context, kinds)

    def start(self, prompt: int) -> int | None:
        """The context at which decoding starts on the curve kept(0, .), or None when kept depends on the prompt.

        A policy that cuts a prompt to c tokens and then keeps all it generates goes on like a prompt of c tokens.
        """
        return prompt

    def alike(self, prompt: int) -> Hashable:
        """Prompts of one key decode alike: kept(prompt, prompt + n) is the same for all of them, for every n >= 0.

        Of use where `start` is None: one curve then serves all long prompts of a policy with a fixed budget.
        """
        return prompt

    def prefill_limit(self, geo: Geometry, kind: LayerKind, group: int) -> int | None:
        """Tokens before it that a prompt's token attends to in a head group, and that stay meanwhile; None for all."""
        return None


@dataclass(frozen=True)
class SinksAndWindow(Retention):
    """The first `sinks` and the last `window` tokens. With `copies`, each step concatenates the cache anew."""

    sinks: int
    window: int
    copies: bool = False

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """min(context, sinks + window) in every group."""
        return super().kept(prompt, np.minimum(context, self.sinks + self.window), kinds)

    def prefill_limit(self, geo: Geometry, kind: LayerKind, group: int) -> int | None:
        """A prompt is read under the same mask."""
        return self.sinks + self.window

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """A ring buffer costs nothing; `copies` reads and writes the cache and rotates all its keys again."""
        if not self.copies:
            return []
        rotary = sums.tokens * geo.key_dim * 2 * 2.0
        return [elementwise("evict_copy", 2 * sums.kv_bytes + rotary, launches=3, count=kind.layers)]
