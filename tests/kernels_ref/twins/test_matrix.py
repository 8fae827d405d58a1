"""The contract over every policy: what the cost side says is stored is what the twin's tensors take, to the byte."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.states import States  # noqa: E402
from kvsim.specs.model import Model  # noqa: E402
from kvsim.traits.placement import HBM  # noqa: E402

POLICIES = list(find.paper_names("kv"))
SHAPES = ("llama-3-8b", "llama-2-7b", "qwen2.5-7b")
PROMPTS = (7, 63, 64, 65, 300)
LENGTHS = {"cskv": (30, 31, 32, 33), "kivi": (126, 127, 128, 129), "think": (30, 31, 32, 33)}  # around their windows
SMALLER = {  # papers whose own numbers exceed these prompts
    "a2ats": "a2ats:codewords=64:sinks=2:local=8",
    "a2sf": "a2sf:budget=40",
    "cake": "cake:capacity=40:window=8",
    "clusterkv": "clusterkv:budget=48:sinks=4:each=8:window=32:dense_layers=1",
    "duoattention": "duoattention:sinks=4:recent=30",
    "ems": "ems:budget=40:recent=8",
    "fastkv": "fastkv:capacity=40:window=8:tokens=48",
    "finch": "finch:capacity=40:chunk=16:question=8",
    "flexgen": "flexgen:cache_hbm=20:cache_dram=50",
    "gear": "gear:buffer=2",
    "headinfer": "headinfer:resident=1",
    "headkv": "headkv:capacity=40:window=8",
    "kvcrush": "kvcrush:capacity=48:page=8:sinks=4:recent=8",
    "l2-norm-kv": "l2-norm-kv:above=60",
    "lagkv": "lagkv:sinks=4:lag=20:ratio=0.3",
    "lazyeviction": "lazyeviction:budget=40:window=2",
    "less": "less:hidden=32",
    "locret": "locret:budget=40:chunk=16:stabilizers=8:local=4:hidden=32",
    "magicpig": "magicpig:bits=4:tables=12:sinks=2:local=8",
    "morphkv": "morphkv:capacity=40:window=8",
    "pyramidinfer": "pyramidinfer:least=16:every=2",
    "pyramidkv": "pyramidkv:capacity=40:window=8",
    "q-filters": "q-filters:budget=40:recent=8",
    "quest": "quest:budget=48",
    "razorattention": "razorattention:least=20",
    "rekv": "rekv:frames=2:frame_tokens=16:window=64:recent=16",
    "scissorhands": "scissorhands:budget=62:drop=0.04:history=20:recent=4",
    "scope-kv": "scope-kv:capacity=40:window=8:decoding=3:recent=1:delta=2",
    "sentencekv": "sentencekv:budget=8:factor=3:start=4:recent=4:window=6",
    "snapkv": "snapkv:capacity=40:window=8",
    "speckv": "speckv:capacity=40:window=8:lookahead=8",
    "speckv-specpc": "speckv-specpc:capacity=40:tokens=48:window=8:draft_window=8:draft_pool=4:neighbours=4:first=1",
    "specpc": "specpc:tokens=48:window=8:pool=4:neighbours=4:first=1",
    "streaming": "streaming:window=40",
    "subgen": "subgen:recent=8:rows=8:samples=2:clusters=1.5",
    "tidaldecode": "tidaldecode:budget=32:first=1:again=3",
    "tova": "tova:capacity=40",
    "windowkv": "windowkv:capacity=40:window=8",
    "xkv": "xkv:key_rank=40:value_rank=56:group=3",
    "zigzagkv": "zigzagkv:window=8",
    "zipcache": "zipcache:gap=2",
    "zipvl": "zipvl:gap=2:queries=16",
}
LENGTHS = {  # more prompts, whose next tokens complete a block
    "aqua-kv": (131, 387),
    "kivi": (126, 255),
    "kv-adaquant": (127,),
    "rotatekv": (18,),
    "vidkv": (126, 254),
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
    for prompt in (*PROMPTS, *LENGTHS.get(name, ())):
        check_steps(SMALLER.get(name, name), made_up(model, prompt + 3, seed=prompt), prompt)


def check_steps(text: str, whole: States, prompt: int) -> None:
    """When the prompt is complete, and after each of the tokens behind it."""
    cache = begin(text, whole.slice(0, prompt))
    check(cache, prompt)
    for context in range(prompt, len(whole)):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(context, context + 1))
        check(cache, context + 1)


def check(cache, context: int) -> None:
    setting = cache.setting
    holdings = setting.layout.holdings
    kept = setting.policy.retention.kept(setting.prompt, np.array([context], np.int64), setting.layout.kinds)
    predicted = int(holdings.stored(np.array(kept))[0])
    stored = cache.stored_bytes()
    assert sum(stored.values()) == predicted
    check_tiers(setting, stored, np.array(kept))
    for layer, heads in enumerate(cache.kept()):
        counts = setting.counts(layer, context).sum(0)
        for head in heads:
            assert len(head) <= context and (head[1:] > head[:-1]).all()
            assert head.numel() == 0 or (head[0] >= 0 and head[-1] < context)
        assert sorted(map(len, heads)) == sorted(counts.tolist())


def check_tiers(setting, stored, kept) -> None:
    """What rests outside HBM; in HBM the cost side counts rows that rest elsewhere as well, and buffers."""
    placement, geo = setting.policy.placement, setting.layout.geo
    predicted = placement.rest(setting.layout.holdings.resting(kept), geo)
    away = int(predicted[placement.home][0]) if placement.home != HBM else 0
    assert sum(stored.values()) - stored[HBM] == away
