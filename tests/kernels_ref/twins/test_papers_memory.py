"""Papers' memory figures: the bytes behind "with all that is stored" are those of tensors, on the papers' shapes."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim import find  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from kvsim.traits.layout import Layout  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

ROOT = Path(__file__).resolve().parents[3]
CATALOGUE = runpy.run_path(str(ROOT / "benchmarks/catalogue.py"))
HELD = {row.claim: row.held for row in CATALOGUE["rows"]()}
LAYERS, LONGEST, BLOCK = 4, 300, 20  # the paper's heads and channels, in few layers and over fewer tokens


@pytest.mark.parametrize("claim", HELD)
def test_stored_bytes_are_those_of_tensors(claim: str) -> None:
    held = HELD[claim]
    whole = find.model(held.model)
    if whole.latent:
        pytest.skip("twins keep keys and values by head, not the latents of MLA")
    context = min(held.context, LONGEST)
    prompt = min(held.prompt, context - 2 * BLOCK) or context - 2 * BLOCK
    model = whole.model_copy(update={"layers": LAYERS, "hidden": 64, "vocab": 64, "window": None})
    states = made_up(model, context)
    given = policy(held.policy)
    figures = {name: figure for paper in given.papers for name, figure in paper.profile().items()}
    try:
        cache = begin(given, states.slice(0, prompt), profile=figures)
    except UserError as error:
        if "no executable twin" in str(error):
            pytest.skip(str(error))
        raise
    layout = Layout(given, model, 1, 16)
    for at in range(prompt, context + 1, BLOCK):
        predicted = int(layout.stored(np.array([prompt]), np.array([at]))[0])
        assert sum(cache.stored_bytes().values()) == predicted
        several = 1 if cache.stepwise else BLOCK
        for start in range(at, min(at + BLOCK, context), several):
            for i, layer in enumerate(states.layers):
                cache.attend(i, layer.slice(start, start + several))


def test_the_catalogue_takes_the_same_sum() -> None:
    """One row's figure, from the bytes of all layers."""
    held = next(iter(HELD.values()))
    few = find.model(held.model).model_copy(update={"layers": LAYERS})
    one = Layout(CATALOGUE["as_stated"](held.policy), few, 1, 16).stored(
        np.array([held.context]), np.array([held.context])
    )
    assert held.bytes * LAYERS == int(one[0]) * find.model(held.model).layers
    assert replace(held, policy="full").bytes == held.full
