"""Retention of one paper with an encoding of another: bytes as the cost side says, rows as each of them keeps them."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402

from .test_compress import tiny  # noqa: E402
from .test_matrix import check_steps, few_layers  # noqa: E402

RETENTIONS = (
    "snapkv:capacity=40:window=8",
    "cake:capacity=40:window=8",
    "headkv:capacity=40:window=8",
    "duoattention:sinks=4:recent=30",
    "lagkv:sinks=4:lag=20:ratio=0.3",
    "razorattention:least=20",
    "fastgen",
    "scissorhands:budget=62:drop=0.04:history=20:recent=4",
    "scope-kv:capacity=40:window=8:decoding=3:recent=1:delta=2",
)
ENCODINGS = ("fp8", "kivi:residual=32", "kivi:bits=4:residual=64")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("retention", RETENTIONS)
def test_bytes(retention: str, encoding: str) -> None:
    for shape, prompt in (("llama-3-8b", 63), ("llama-3-8b", 64), ("qwen2.5-7b", 130)):
        whole = made_up(few_layers(shape), prompt + 3, seed=prompt)
        check_steps(f"{retention}+{encoding}", whole, prompt)


def test_kivi_codes_what_snapkv_keeps() -> None:
    """Kept positions are SnapKV's; rows that attention reads are those that KIVI's code gives for them alone."""
    states = made_up(tiny(), 150, seed=1)
    text, alone = "snapkv:capacity=70:window=6", "kivi:bits=2:residual=32"
    both, kept = begin(f"{text}+{alone}", states), begin(text, states)
    assert [[h.tolist() for h in layer] for layer in both.kept()] == [[h.tolist() for h in x] for x in kept.kept()]
    kivi = begin(alone, states)
    quantizer = part(kivi.policy.quantizer, Setting(kivi.policy, states.model, 150))
    for i, layer in enumerate(states.layers):
        for head, at in enumerate(both.kept()[i]):
            coded = quantizer.code(i, layer.keys[head, at][None], layer.values[head, at][None], at[None])
            assert torch.equal(both.read[i].key[head], coded.key[0])
            assert torch.equal(both.read[i].value[head], coded.value[0])
