"""One call for every policy: what it keeps of a prompt, in how many bytes, and what new queries get from it."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels_ref.twins.cache import begin
from kernels_ref.twins.states import States
from kvsim.traits.policy import Policy
from kvsim.traits.profile import Figure

BLOCK_TOKENS = 64


@dataclass(frozen=True)
class Result:
    """Attributes:
    kept: positions that stay at the prompt's end, by layer and kv head. kept_after: the same after the new tokens.
    stored_bytes, stored_bytes_after: by tier, metadata included.
    outputs: [H, n, Dv] by layer, attention's output for the new tokens' queries.
    profile: figures that this prompt showed. notes: what stands in for what.
    """

    policy: Policy
    kept: list[list[Tensor]]
    kept_after: list[list[Tensor]]
    stored_bytes: dict[str, int]
    stored_bytes_after: dict[str, int]
    outputs: list[Tensor]
    profile: Mapping[str, Figure]
    notes: tuple[str, ...]


def compress(
    policy: str | Policy,
    states: States,
    new_states: States,
    *,
    profile: Mapping[str, Figure] | None = None,
    seed: int = 0,
    calibration: States | None = None,
) -> Result:
    """Compress a prompt's cache under `policy`, then attend to it from the tokens that follow.

    Arguments as of `kernels_ref.twins.cache.begin`; `new_states` are of the tokens behind `states`, as the model with a
    full cache computes them. Blocks of 64 queries, or single ones where decoding changes the cache.

    Raises:
        UserError: as `begin`.
    """
    with torch.no_grad():
        cache = begin(policy, states, profile=profile, seed=seed, calibration=calibration)
        kept, stored = cache.kept(), cache.stored_bytes()
        step = 1 if cache.stepwise else BLOCK_TOKENS
        parts: list[list[Tensor]] = [[] for _ in states.layers]
        for start in range(0, len(new_states), step):
            for i, layer in enumerate(new_states.layers):
                parts[i].append(cache.attend(i, layer.slice(start, start + step)))
        outputs = [
            torch.cat(one, 1) if one else layer.values[:0] for one, layer in zip(parts, states.layers, strict=True)
        ]
        return Result(cache.policy, kept, cache.kept(), stored, cache.stored_bytes(), outputs, cache.seen, cache.notes)
