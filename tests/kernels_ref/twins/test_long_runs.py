"""Bytes over many steps: caches that grow, are cut and grow again, from prompts of one token on."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

from .test_compress import split  # noqa: E402
from .test_matrix import check, few_layers  # noqa: E402

STEPWISE = (
    "fastgen",
    "hashevict",
    "lagkv:sinks=4:lag=8:ratio=0.3",
    "lazyeviction:budget=30:window=7",
    "morphkv:capacity=40:window=8",
    "razorattention:least=20",
    "scissorhands:budget=40:drop=0.2:history=9:recent=4",
    "scope-kv:capacity=40:window=8:strategy=discontinuous:decoding=12:recent=5:delta=4",
    "squeezeattention",
)
IN_BLOCKS = (
    "cake:capacity=40:window=8",
    "duoattention:sinks=4:recent=30",
    "headkv:capacity=40:window=8",
    "kvcrush:capacity=64:page=16:sinks=32:recent=20:anchor=random:share=0.5",
    "locret:budget=40:chunk=16:stabilizers=8:local=4:hidden=32",
    "streaming:window=30",
)


@pytest.mark.parametrize("prompt", [1, 20, 50])
@pytest.mark.parametrize("text", STEPWISE)
def test_step_by_step(text: str, prompt: int) -> None:
    whole = made_up(few_layers("llama-3-8b"), prompt + 30, seed=prompt)
    cache = begin(text, whole.slice(0, prompt))
    for step in range(prompt, prompt + 30):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(step, step + 1))
        check(cache, step + 1)


@pytest.mark.parametrize("prompt", [1, 20, 90])
@pytest.mark.parametrize("text", IN_BLOCKS)
def test_in_blocks(text: str, prompt: int) -> None:
    whole = made_up(few_layers("llama-3-8b"), prompt + 50, seed=prompt)
    cache = begin(text, whole.slice(0, prompt))
    for start in range(prompt, prompt + 50, 25):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(start, start + 25))
        check(cache, start + 25)


def test_released_code_has_no_twin() -> None:
    with pytest.raises(UserError, match="ideal"):
        begin(policy("snapkv", "published"), split()[0])
