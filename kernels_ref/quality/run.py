"""One policy on one text: the prompt is read once for all policies, then each compresses it and goes on."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kernels_ref.quality import measures
from kernels_ref.quality.language import Language
from kernels_ref.quality.loop import BLOCK_TOKENS, Loop
from kernels_ref.quality.measures import Scores
from kernels_ref.quality.needles import FACTS, Asked, asked, document, second
from kernels_ref.quality.prompt import read_under
from kernels_ref.quality.recorder import Reading, Recorder
from kernels_ref.quality.texts import Passage, digest
from kernels_ref.twins.cache import begin
from kernels_ref.twins.states import States
from kvsim.traits.policy import Policy
from kvsim.traits.profile import Figure


@dataclass(frozen=True)
class Prepared:
    """A passage under the full cache: the prompt's states, what follows with its outputs, logits and probabilities."""

    passage: Passage
    prompt: States
    new: Reading
    masses: list[Tensor]
    following: Tensor


@dataclass(frozen=True)
class Asking:
    """The document with its first question, by fact: the states that every policy compresses."""

    prompts: tuple[States, ...]
    facts: tuple[Asked, ...]

    @property
    def digest(self) -> str:
        """Tells apart what was read."""
        return digest((*(tuple(one.tokens.tolist()) for one in self.prompts), self.facts))


@dataclass(frozen=True)
class Stored:
    """What a twin held when the prompt was complete.

    Attributes:
        bytes_: by tier. share: all of them over the full cache's. kept: tokens, mean over layers and kv heads.
        seen: figures that the prompt showed. notes: what stands in for what.
    """

    bytes_: Mapping[str, int]
    share: float
    kept: float
    seen: Mapping[str, Figure]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Retrieval:
    """Shares of the facts whose answer is the likeliest token, and mean log-probabilities in nats.

    The first question was there when the policy compressed, the second came after.
    """

    first_right: float
    first_log_p: float
    second_right: float
    second_log_p: float


@torch.no_grad()
def prepared(language: Language, passage: Passage) -> Prepared:
    """Reads a passage with the full cache."""
    prompt = Recorder(language).read(language.ids(passage.prompt), last_only=True).states
    following = language.ids(passage.following)
    new = Recorder(language, (prompt,)).read(following[:-1])
    return Prepared(passage, prompt, new, measures.masses(prompt, new), following[1:])


@torch.no_grad()
def states_of(language: Language, ids: tuple[int, ...]) -> States:
    """What the full cache holds of a text."""
    return Recorder(language).read(language.ids(ids), last_only=True).states


@torch.no_grad()
def asking(language: Language) -> Asking:
    """Reads the document once, and each question behind it."""
    before = states_of(language, tuple(language.source.encode(document(language))))
    facts = tuple(asked(language, fact) for fact in FACTS)
    prompts = []
    for one in facts:
        question = Recorder(language, (before,)).read(language.ids(one.question), len(one.question), last_only=True)
        prompts.append(joined(before, question.states))
    return Asking(tuple(prompts), facts)


def joined(one: States, two: States) -> States:
    """States of two neighbouring parts of a text."""
    layers = tuple(a.join(b) for a, b in zip(one.layers, two.layers, strict=True))
    ends = (*one.sentences, *(len(one) + end for end in two.sentences))
    return States(
        one.model,
        torch.cat([one.tokens, two.tokens]),
        layers,
        one.turns,
        one.projections,
        one.first,
        two.question,
        ends,
    )


@torch.no_grad()
def score(
    language: Language, ready: Prepared, policy: Policy, seed: int = 0, calibration: States | None = None
) -> tuple[Scores, Stored]:
    """A policy on a passage.

    Raises:
        UserError: it has no executable twin, or does not fit the model.
    """
    states = read_under(language, ready.prompt, policy, seed, calibration)
    cache = begin(policy, states, seed=seed, calibration=calibration)
    stored = _stored(cache, ready.prompt)
    looped = _fork(cache)
    new, outputs, masses = ready.new.states, [list[Tensor]() for _ in ready.new.outputs], list[Tensor]()
    step = 1 if cache.stepwise else BLOCK_TOKENS
    for start in range(0, len(new), step):
        for i, layer in enumerate(new.layers):
            outputs[i].append(cache.attend(i, layer.slice(start, start + step)))
            masses.append(measures.mass_read(ready.masses[i][:, start : start + step], cache.last[i]).flatten())
    errors = measures.relative_errors([torch.cat(one, 1) for one in outputs], ready.new.outputs).flatten()
    logits = Loop(language, looped, len(ready.prompt)).read(new.tokens)
    scores = Scores(
        float(errors.mean()),
        float(errors.quantile(0.9)),
        float(torch.cat(masses).mean()),
        measures.divergence(ready.new.logits, logits),
        measures.perplexity(logits, ready.following),
        measures.perplexity(ready.new.logits, ready.following),
    )
    return scores, stored


@torch.no_grad()
def retrieve(
    language: Language, ready: Asking, policy: Policy, seed: int = 0, calibration: States | None = None
) -> tuple[Retrieval, Stored]:
    """A policy on the questions."""
    found, stored = [], None
    for first, (prompt, fact) in enumerate(zip(ready.prompts, ready.facts, strict=True)):
        states = read_under(language, prompt, policy, seed, calibration)
        cache = begin(policy, states, seed=seed, calibration=calibration)
        stored = stored or _stored(cache, prompt)
        loop = Loop(language, cache, len(prompt))
        other = ready.facts[second(first)]
        found.append((*_answered(loop, language, fact.stem, fact), *_answered(loop, language, _behind(other), other)))
    assert stored is not None
    mean = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
    return Retrieval(*mean), stored


def _behind(other: Asked) -> tuple[int, ...]:
    """What comes behind an answer, up to the next one."""
    return (*other.question, *other.stem)


def _answered(loop: Loop, language: Language, before: tuple[int, ...], fact: Asked) -> tuple[float, float]:
    """(1 if every token of the answer is the likeliest, mean log-probability); the answer is then read too."""
    answer = language.ids(fact.answer)
    logits = loop.read(torch.cat([language.ids(before), answer]))[-len(answer) - 1 : -1]
    right = bool((logits.argmax(-1) == answer).all())
    return float(right), float(measures.log_probabilities(logits, answer).mean())


def _fork(cache: Any) -> Any:
    """The same cache for another continuation."""
    return copy.deepcopy(cache, {id(cache.setting): cache.setting, id(cache.turns): cache.turns})


def _stored(cache: Any, prompt: States) -> Stored:
    found: dict[str, int] = cache.stored_bytes()
    kept = [len(head) for layer in cache.kept() for head in layer]
    share = sum(found.values()) / (prompt.model.kv_bytes_per_token * len(prompt))
    return Stored(found, share, sum(kept) / len(kept), dict(cache.seen), tuple(cache.notes))
