"""Merges and states composed with other papers' encodings: bytes as predicted, rows read near those kept."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .test_matrix import check, few_layers  # noqa: E402

PROMPT = 90
TEXTS = (
    "d2o:heavy=0.3:recent=0.3+kivi:bits=4:group=32:residual=32",
    "ems:budget=40:recent=8+fp8",
    "zeromerge:keep=0.6+kivi:bits=4:group=32:residual=32",
    "elastic-cache:ratio=0.5+fp8",
    "kvmerger+kivi:bits=4:group=32:residual=32",
    "less:hidden=16+fp8",
)


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_and_rows(text: str) -> None:
    states = made_up(few_layers("llama-3-8b"), PROMPT + 4)
    cache = begin(text, states.slice(0, PROMPT))
    alone = begin(text.split("+")[0], states.slice(0, PROMPT))
    check(cache, PROMPT)
    for coded, whole in zip(cache.read, alone.read, strict=True):
        assert torch.equal(coded.position, whole.position) and torch.equal(coded.weight, whole.weight)
        assert 0 < (coded.key - whole.key).norm() < 0.1 * whole.key.norm()
    for step in range(4):
        for i, layer in enumerate(states.layers):
            cache.attend(i, layer.slice(PROMPT + step, PROMPT + step + 1))
        check(cache, PROMPT + step + 1)
