"""Selections, placements and prefills with other papers' retention and encoding: bytes and tiers still to the byte."""

import pytest

pytest.importorskip("torch")

from kernels_ref.twins.cache import begin
from kernels_ref.twins.made_up import made_up
from tests.kernels_ref.twins.test_matrix import check, few_layers

TEXTS = (
    "snapkv:capacity=40:window=8+quest:budget=16:dense_layers=1",
    "snapkv:capacity=40:window=8+clusterkv:budget=8:sinks=2:each=4:window=16:dense_layers=1",
    "tova:capacity=40+quest:budget=16",
    "tova:capacity=40+clusterkv:budget=8:sinks=2:each=4:window=16",
    "tova:capacity=40+magicpig:bits=4:tables=6:sinks=2:local=4",
    "tova:capacity=40+a2ats:codewords=16:sinks=2:local=4",
    "streaming:window=40+tidaldecode:budget=8:first=1:again=3",
    "headkv:capacity=40:window=8+quest:budget=16",
    "kivi:bits=2:group=32+quest:budget=16",
    "kivi:bits=4:group=32+magicpig:bits=4:tables=6:sinks=2:local=4",
    "kivi:bits=2:group=32+offload:resident=1",
    "fp8+flexgen:cache_hbm=30:cache_dram=30",
    "fp8+clusterkv:budget=8:sinks=2:each=4:window=16",
    "fastkv:capacity=40:window=8:tokens=48+kivi:bits=2:group=32",
    "specpc:tokens=48:window=8:pool=4:neighbours=4:first=1+fp8",
    "alisa:share=0.3+offload",
    "tova:capacity=40+alisa:share=0.3",
    "instinfer:channels=0.25:tokens=0.25+snapkv:capacity=40:window=8",
)


@pytest.mark.parametrize("shape", ["llama-3-8b", "qwen2.5-7b"])
@pytest.mark.parametrize("text", TEXTS)
def test_bytes(text: str, shape: str) -> None:
    whole = made_up(few_layers(shape), 103, seed=3)
    cache = begin(text, whole.slice(0, 95))
    check(cache, 95)
    for context in range(95, 103):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(context, context + 1))
        check(cache, context + 1)
