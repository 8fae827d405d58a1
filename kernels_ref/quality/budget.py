"""Equal bytes: the setting of a policy whose cache takes a given share of the full one's bytes.

A paper names the field that sets its size (`knob`), or several that scale together. What a policy stores comes from the
cost side, to the byte. A policy that keeps everything and reads a part of it is held to the bytes that a step reads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from kernels_ref.quality.random_eviction import NAME, Random, random_policy
from kvsim import find
from kvsim.specs.model import Model
from kvsim.traits.layout import Layout
from kvsim.traits.policy import Paper, Policy, parameters, policy

_STEPS = 1000  # of a share between 0 and 1


@dataclass(frozen=True)
class Sized:
    """A policy at a size.

    Attributes:
        text: names it with all that was set. share: of the full cache's bytes, as the cost side has it.
        basis: whether they are stored, or (of all that is stored) read in a step.
        reached: whether the share is at most what was asked for.
    """

    text: str
    policy: Policy
    share: float
    basis: Literal["stored", "read"]
    reached: bool = True


def named(text: str) -> Policy:
    """The policy, or quality's own `random`.

    Raises:
        UserError: as `kvsim.traits.policy.policy`.
    """
    return random_policy(text) if text.split(":")[0] == NAME else policy(text)


def as_published(text: str, model: Model, tokens: int) -> Sized:
    """The policy as it stands, over a prompt of `tokens`."""
    return _sized(text, model, tokens)


def at_budget(text: str, budget: float, model: Model, tokens: int) -> Sized:
    """The largest setting of `text` at or under `budget` of the full cache's bytes over a prompt of `tokens`.

    Of several parts the first that has a free knob is sized. Where even the smallest setting takes more, that one is
    given back, not `reached`; the same holds for a policy without a knob.
    """
    for index, part in enumerate(text.split("+")):
        knobs = _free_knobs(part)
        if not knobs:
            continue
        settings = list(_settings(part, knobs, tokens))
        if not settings:
            continue
        texts = ["+".join([*text.split("+")[:index], one, *text.split("+")[index + 1 :]]) for one in settings]
        return _largest(texts, budget, model, tokens)
    alone = _sized(text, model, tokens)
    return replace(alone, reached=alone.share <= budget)


def _largest(texts: list[str], budget: float, model: Model, tokens: int) -> Sized:
    """By bisection over settings whose bytes rise or fall. Where none takes more, the smallest that takes as much."""

    def share(i: int) -> float:
        return _sized(texts[i], model, tokens).share

    if share(0) > share(len(texts) - 1):
        texts = texts[::-1]
    fit = bisect_right(range(len(texts)), budget, key=share)
    chosen = bisect_left(range(fit), share(fit - 1), key=share) if fit == len(texts) else max(0, fit - 1)
    found = _sized(texts[chosen], model, tokens)
    return replace(found, reached=found.share <= budget)


def _kind(part: str) -> type[Paper]:
    name = part.split(":")[0]
    return Random if name == NAME else find.paper("policy", "kv", name)


def _free_knobs(part: str) -> tuple[str, ...]:
    """Fields that set the size of a part, unless the text sets one of them itself."""
    knob = _kind(part).knob
    knobs = (knob,) if isinstance(knob, str) else knob
    given = {pair.split("=")[0] for pair in part.split(":")[1:]}
    return () if given & set(knobs) else knobs


def _settings(part: str, knobs: tuple[str, ...], tokens: int) -> Iterator[str]:
    """Valid texts of a part over all values of its main knob, rising; the other knobs in proportion, as published."""
    kind, pairs = _kind(part), part.split(":")[1:]
    paper: Any = parameters(kind, pairs, f"policy {part!r}")
    published = {field.name: field.default for field in fields(kind)}  # type: ignore[arg-type]
    main = published[knobs[0]]
    whole = isinstance(main, int)
    most = max(2 * tokens, 2 * main) if whole else _STEPS
    for i in range(most + 1):
        value = i if whole else i / _STEPS
        scaled = {name: _like(published[name], published[name] * value / main) for name in knobs[1:]}
        values = {knobs[0]: value, **scaled}
        try:
            replace(paper, **values)
        except ValueError:
            continue
        yield ":".join([part, *(f"{name}={each}" for name, each in values.items())])


def _like(published: float | int, value: float) -> float | int:
    return round(value) if isinstance(published, int) else round(value, 4)


def _sized(text: str, model: Model, tokens: int) -> Sized:
    found = named(text)
    n = np.array([tokens], np.int64)
    layout, full = Layout(found, model, 1, 1), Layout(policy("full"), model, 1, 1)
    whole = int(full.stored(n, n)[0])
    if not found.selection.selects:
        return Sized(text, found, int(layout.stored(n, n)[0]) / whole, "stored")
    return Sized(text, found, _read(layout, tokens) / whole, "read")


def _read(layout: Layout, tokens: int) -> int:
    """Bytes that a decode step reads of the cache and its index, over all layers."""
    n = np.array([tokens], np.int64)
    groups, kept = layout.groups, layout.kept(n, n)
    rows = layout.holdings.read_bytes(layout.holdings.read(kept))
    total = int((groups.layers @ rows)[0])
    for g, k in enumerate(groups.kind):
        index = layout.policy.selection.index_bytes(layout.geo, layout.kinds[k], kept[g].sum(0))
        total += int(groups.layers[g] * groups.heads[g] * index[0])
    return total
