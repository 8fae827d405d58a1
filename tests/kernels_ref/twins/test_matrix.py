"""The contract over every policy: what the cost side says is stored is what the twin's tensors take, to the byte."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from kvsim.specs.model import Model  # noqa: E402

POLICIES = list(find.paper_names("kv"))
SHAPES = ("llama-3-8b", "llama-2-7b", "qwen2.5-7b")
PROMPTS = (7, 63, 64, 65, 300)
SMALLER = {  # papers whose own numbers exceed these prompts
    "a2sf": "a2sf:budget=40",
    "cake": "cake:capacity=40:window=8",
    "duoattention": "duoattention:sinks=4:recent=30",
    "ems": "ems:budget=40:recent=8",
    "finch": "finch:capacity=40:chunk=16:question=8",
    "headkv": "headkv:capacity=40:window=8",
    "kvcrush": "kvcrush:capacity=48:page=8:sinks=4:recent=8",
    "l2-norm-kv": "l2-norm-kv:above=60",
    "lagkv": "lagkv:sinks=4:lag=20:ratio=0.3",
    "lazyeviction": "lazyeviction:budget=40:window=2",
    "locret": "locret:budget=40:chunk=16:stabilizers=8:local=4:hidden=32",
    "less": "less:hidden=32",
    "morphkv": "morphkv:capacity=40:window=8",
    "pyramidkv": "pyramidkv:capacity=40:window=8",
    "q-filters": "q-filters:budget=40:recent=8",
    "razorattention": "razorattention:least=20",
    "scissorhands": "scissorhands:budget=62:drop=0.04:history=20:recent=4",
    "scope-kv": "scope-kv:capacity=40:window=8:decoding=3:recent=1:delta=2",
    "snapkv": "snapkv:capacity=40:window=8",
    "streaming": "streaming:window=40",
    "tova": "tova:capacity=40",
    "windowkv": "windowkv:capacity=40:window=8",
    "zigzagkv": "zigzagkv:window=8",
}


def few_layers(name: str) -> Model:
    """The model's attention on four narrow layers."""
    whole = find.model(name)
    heads = whole.heads // 4
    return replace_model(whole, layers=4, heads=heads, kv_heads=max(1, whole.kv_heads // 4), head_dim=32)


def replace_model(model: Model, **fields: int) -> Model:
    return model.model_copy(
        update={**fields, "hidden": fields["heads"] * fields["head_dim"], "vocab": 128, "window": None}
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", POLICIES)
def test_bytes(name: str, shape: str) -> None:
    model = few_layers(shape)
    for prompt in PROMPTS:
        whole = made_up(model, prompt + 3, seed=prompt)
        try:
            cache = begin(SMALLER.get(name, name), whole.slice(0, prompt))
        except UserError as error:
            if "no executable twin" in str(error):
                pytest.skip(str(error))
            raise
        check(cache, prompt)
        for step in range(3):
            for i, layer in enumerate(whole.layers):
                cache.attend(i, layer.slice(prompt + step, prompt + step + 1))
            check(cache, prompt + step + 1)


def check(cache, context: int) -> None:
    setting = cache.setting
    holdings = setting.layout.holdings
    kept = setting.policy.retention.kept(setting.prompt, np.array([context], np.int64), setting.layout.kinds)
    predicted = int(holdings.stored(np.array(kept))[0])
    assert sum(cache.stored_bytes().values()) == predicted
    for layer, heads in enumerate(cache.kept()):
        counts = setting.counts(layer, context).sum(0)
        for head in heads:
            assert len(head) <= context and (head[1:] > head[:-1]).all()
            assert head.numel() == 0 or (head[0] >= 0 and head[-1] < context)
        assert sorted(map(len, heads)) == sorted(counts.tolist())
