"""What `kvsim quality` calls: policies on texts, one row each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernels_ref.quality.budget import Sized, as_published, at_budget, named
from kernels_ref.quality.language import Language, language
from kernels_ref.quality.needles import NAME as NEEDLES
from kernels_ref.quality.row import Row, row
from kernels_ref.quality.run import Asking, Prepared, asking, prepared, retrieve, score, states_of
from kernels_ref.quality.texts import NEW_TOKENS, PROMPT_TOKENS, TEXTS, calibration, passage
from kernels_ref.twins.states import States
from kvsim.errors import UserError

ALL_TEXTS = (*TEXTS, NEEDLES)
_ROOM = 512  # positions behind prompt and new tokens, for questions


@dataclass(frozen=True)
class Quality:
    """Attributes:
    model: its name. prompt, new: tokens of a text that are compressed, and that follow. rows: by policy, then text.
    """

    model: str
    prompt: int
    new: int
    rows: tuple[Row, ...]


class Bench:
    """A model with texts that were read once, for any number of policies.

    `one_at_a_time`: a text's states (some 400 MB) go when the next is asked for.
    """

    def __init__(
        self,
        texts: Sequence[str],
        folder: Path | None,
        device: str,
        prompt: int,
        new: int,
        seed: int = 0,
        one_at_a_time: bool = False,
    ) -> None:
        self.seed, self.prompt, self.new, self._one_at_a_time = seed, prompt, new, one_at_a_time
        self.language: Language = language(folder, device, max(prompt + new, PROMPT_TOKENS) + _ROOM)
        self._texts = {name: passage(self.language, name, prompt, new) for name in texts if name != NEEDLES}
        self._read: dict[str, Prepared | Asking] = {}
        self._calibration: States | None = None

    def sized(self, policy: str, budget: float | None, tokens: int = 0) -> Sized:
        """At the budget over a prompt of `tokens` (as the texts'), or as published."""
        model, tokens = self.language.model, tokens or self.prompt
        return as_published(policy, model, tokens) if budget is None else at_budget(policy, budget, model, tokens)

    def row(self, policy: str, budget: float | None, text: str) -> Row:
        """Measure one policy on one text.

        Raises:
            UserError: it has no executable twin, or does not fit the model.
        """
        ready, trained = self._ready(text), self._trained()
        if isinstance(ready, Asking):
            sized = self.sized(policy, budget, max(len(prompt) for prompt in ready.prompts))
            found, stored = retrieve(self.language, ready, sized.policy, self.seed, trained)
            return row(policy, budget, sized, text, ready.digest, found, stored)
        sized = self.sized(policy, budget)
        scores, stored = score(self.language, ready, sized.policy, self.seed, trained)
        return row(policy, budget, sized, text, ready.passage.digest, scores, stored)

    def _ready(self, text: str) -> Prepared | Asking:
        if text not in self._read:
            if self._one_at_a_time:
                self._read.clear()
            made = asking(self.language) if text == NEEDLES else prepared(self.language, self._texts[text])
            self._read[text] = made
        return self._read[text]

    def _trained(self) -> States:
        if self._calibration is None:
            self._calibration = states_of(self.language, calibration(self.language, PROMPT_TOKENS))
        return self._calibration


def quality(
    policies: Sequence[str],
    *,
    budget: float | None = None,
    texts: Sequence[str] = ALL_TEXTS,
    model: Path | None = None,
    device: str = "cpu",
    tokens: int = PROMPT_TOKENS,
    new: int = NEW_TOKENS,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Quality:
    """Policies on texts; arguments as of `kvsim.quality`.

    Raises:
        UserError: something that is not there, or does not fit.
    """
    if budget is not None and not 0 < budget <= 1:
        raise UserError(f"--budget must be in (0, 1], but got {budget:g}")
    if tokens < 64 or new < 1:
        raise UserError(f"--tokens must be at least 64 and --new at least 1, but got {tokens} and {new}")
    for policy in policies:
        named(policy)
    bench, total = Bench(texts, model, checked(device), tokens, new, seed), len(policies) * len(texts)
    rows = []
    for policy in policies:
        for text in texts:
            if progress:
                progress(len(rows), total)
            rows.append(bench.row(policy, budget, text))
    return Quality(bench.language.model.name, tokens, new, tuple(rows))


def checked(device: str) -> str:
    """A device that is there.

    Raises:
        UserError: it is not.
    """
    import torch

    if device.partition(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"--device must be cpu, cuda or cuda:N, but got {device!r}")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no CUDA device; there is cpu")
    return device
