"""SCOPE: the prompt's cache is cut once and then left alone; generated tokens have a budget of their own."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.retention import Ints, Retention
from kvsim.traits.trait import Decode, End
from kvsim.traits.votes import WindowVotes

STRATEGIES = ("slide", "adaptive", "discontinuous")


@dataclass(frozen=True)
class TwoPhases(Retention):
    """min(prompt, capacity) tokens of the prompt, and of the generated ones a budget that depends on `strategy`.

    slide: `decoding` tokens, chosen anew at each step. adaptive: `recent` tokens at first, one more every `delta`
    steps, up to `decoding`. discontinuous: as adaptive, chosen anew only when the budget grows.
    """

    capacity: int
    scorer: WindowVotes
    strategy: str
    decoding: int
    recent: int
    delta: int
    by_head = True
    aligned = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """Of discontinuous selection."""
        return self.delta if self.strategy == "discontinuous" else 1

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """The cut prompt and the decode budget, as far as there are tokens."""
        return self._tokens(prompt, context, kinds, (context - prompt) % self.delta)

    def reserved(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        """With room for the tokens between two choices."""
        return self._tokens(prompt, context, kinds, np.full_like(context, self.delta - 1))

    def _tokens(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...], since: Ints) -> Ints:
        """`since`: tokens since the last choice, where it is discontinuous."""
        made = context - prompt
        budget = np.minimum(self.recent + made // self.delta, self.decoding)
        if self.strategy == "slide":
            decoded = np.minimum(made, self.decoding)
        elif self.strategy == "adaptive":
            decoded = np.minimum(made, budget)
        else:
            decoded = np.minimum(made, budget + since)
        return Retention.kept(self, prompt, np.minimum(prompt, self.capacity) + decoded, kinds)

    def start(self, prompt: int) -> int | None:
        """Generated tokens are counted apart."""
        return None

    def alike(self, prompt: int) -> Hashable:
        """Prompts above the capacity are cut alike."""
        return min(prompt, self.capacity)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The prompt's choice and gather."""
        gather = elementwise("gather_kept", 2 * end.kept_bytes, 2, end.due(kind))
        return [*self.scorer.end_ops(geo, kind, end), gather]

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Scores of the decode segment, top-k and a gather of it, at its full size; rarer when discontinuous."""
        every = self.delta if self.strategy == "discontinuous" else 1
        scores = sums.sequences * (self.decoding * 2.0 * geo.query_heads)
        rows = sums.sequences * (self.decoding * 4.0 * sum(kind.heads) * (geo.key_dim + geo.value_dim))
        return [elementwise("choose_decoded", (scores + rows) / every, 4 / every, kind.layers)]
