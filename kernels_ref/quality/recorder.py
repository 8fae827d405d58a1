"""The full cache over a text, read once: what every layer saw is kept, for policies to start from and be held to."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from kernels_ref.quality.language import Language
from kernels_ref.twins.states import LayerStates, States, rotate


@dataclass(frozen=True)
class Reading:
    """What the full cache gave for some tokens of a text.

    Attributes:
        states: of these tokens alone. outputs: of attention, by layer, [H, n, Dv]. logits: [rows, vocab] of the rows
            that were asked for.
    """

    states: States
    outputs: tuple[Tensor, ...]
    logits: Tensor


class Recorder:
    """Reads texts with the full cache. `past`: what was read before, whose rows are attended to as well."""

    def __init__(self, language: Language, past: tuple[States, ...] = ()) -> None:
        self._language, self._past = language, past
        self._first = sum(len(states) for states in past)
        self._layers: list[LayerStates] = []
        self._outputs: list[Tensor] = []
        self._normed = self._before = torch.empty(0)

    def read(self, tokens: Tensor, question: int = 0, last_only: bool = False) -> Reading:
        """The next `tokens` [n] of the text, the last `question` of them ask about it; logits of all or the last."""
        language = self._language
        decoder = language.decoder
        self._positions = torch.arange(self._first, self._first + len(tokens), device=tokens.device)
        rows = self._positions[-1:] - self._first if last_only else None
        decoder.watch = self._watch
        try:
            _, logits = decoder.next_tokens(tokens, self, rows)
        finally:
            decoder.watch = None
        states = States(
            language.model,
            tokens,
            tuple(self._layers),
            decoder.turns,
            language.projections(),
            self._first,
            question,
            sentence_ends(language, tokens),
        )
        return Reading(states, tuple(self._outputs), logits)

    def attend(self, layer: int, qkv: Tensor, /) -> Tensor:
        """Causal attention of these rows over all before and themselves."""
        made = layer_states(self._language, qkv, self._positions, self._normed, self._before)
        self._layers.append(made)
        earlier = [past.layers[layer] for past in self._past]
        keys = torch.cat([*(one.keys for one in earlier), made.keys], 1)
        values = torch.cat([*(one.values for one in earlier), made.values], 1)
        output = full_attention(made.queries, keys, values)
        self._outputs.append(output)
        return output.transpose(0, 1).flatten(1)

    def _watch(self, layer: int, normed: Tensor, residual: Tensor) -> None:
        self._normed, self._before = normed, residual.clone()


def layer_states(
    language: Language, qkv: Tensor, positions: Tensor, normed: Tensor | None = None, before: Tensor | None = None
) -> LayerStates:
    """Queries, keys and values of the rows `qkv` [n, ...] at `positions` [n], rotated."""
    shape, turns = language.shape, language.decoder.turns
    heads = qkv.view(len(qkv), -1, shape.dim).transpose(0, 1)
    queries, raw_keys, values = heads.split([shape.heads, shape.kv_heads, shape.kv_heads])
    return LayerStates(
        rotate(queries, positions, turns), rotate(raw_keys, positions, turns), raw_keys, values, normed, before
    )


def full_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Outputs [H, n, Dv] of the last n positions' queries [H, n, D] over keys and values [Hk, T, ...], causal."""
    new, all_, share = queries.shape[1], keys.shape[1], queries.shape[0] // keys.shape[0]
    keys, values = (x.repeat_interleave(share, 0)[None] for x in (keys, values))
    if new == all_:
        return scaled_dot_product_attention(queries[None], keys, values, is_causal=True)[0]
    seen = torch.ones(new, all_, dtype=torch.bool, device=queries.device).tril(all_ - new)
    return scaled_dot_product_attention(queries[None], keys, values, attn_mask=seen)[0]


def sentence_ends(language: Language, tokens: Tensor) -> tuple[int, ...]:
    """Ends of sentences, exclusive: after a full stop, a question or exclamation mark, or an end of line."""
    ends = [i + 1 for i, text in enumerate(language.pieces(tokens)) if text.rstrip(" ")[-1:] in (".", "?", "!", "\n")]
    return tuple(ends if ends and ends[-1] == len(tokens) else [*ends, len(tokens)])
