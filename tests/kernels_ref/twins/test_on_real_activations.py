"""What codes cost a real model: SmolLM2-135M reads a licence, and each layer attends to its own coded rows."""

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.quality.language import language  # noqa: E402
from kernels_ref.quality.recorder import Recorder  # noqa: E402
from kernels_ref.quality.source import shipped  # noqa: E402
from kernels_ref.twins.attention import attend, causal  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kvsim.traits.encoding import GroupQuantizer  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402
from kvsim.traits.quantizers import TokenQuantizer  # noqa: E402

if shipped() is None:
    pytest.skip("SmolLM2 is not installed (extra `quality`)", allow_module_level=True)
TEXT = Path(__file__).parents[3] / "LICENSE"
TOKENS = 512


@pytest.fixture(scope="module")
def states():
    model = language(positions=TOKENS)
    ids = model.tokens(TEXT.read_text())[:TOKENS]
    assert len(ids) == TOKENS
    with torch.no_grad():
        return Recorder(model).read(ids, last_only=True).states


def missed(states, chosen) -> float:
    """Relative error of attention's output, mean of layers, of queries that see coded rows alone, their own too."""
    at = torch.arange(TOKENS)
    late, errors = at[TOKENS // 2 :], []
    with torch.no_grad():
        read = begin(chosen, states).read
        for layer, coded in zip(states.layers, read, strict=True):
            queries, seen = layer.queries[:, late], causal(late, at)
            true = attend(queries, layer.keys, layer.values, seen, None)[0]
            found = attend(queries, coded.key, coded.value, seen, None)[0]
            errors.append(float((found - true).norm() / true.norm()))
    return sum(errors) / len(errors)


@pytest.mark.parametrize(("bits", "by_channel", "by_token"), ((2, 0.55, 0.91), (4, 0.10, 0.17)))
def test_keys_by_channel_lose_less_than_keys_by_token(states, bits: int, by_channel: float, by_token: float) -> None:
    full = policy("full")
    kivi = missed(states, replace(full, quantizer=GroupQuantizer(bits, 32, 32)))
    other = missed(states, replace(full, quantizer=TokenQuantizer(bits, 32)))
    assert kivi == pytest.approx(by_channel, rel=0.2)
    assert other == pytest.approx(by_token, rel=0.2)


@pytest.mark.parametrize(
    "texts",
    (
        ("coupled-quantization", "coupled-quantization:channels=4", "coupled-quantization:channels=2"),
        ("kvquant:bits=2", "kvquant:bits=3", "kvquant:bits=4"),
        ("rotatekv:bits=2", "rotatekv:bits=3", "rotatekv:bits=4"),
        ("gear:bits=2:sparse=0:rank=0", "gear:bits=2:rank=0", "gear:bits=2", "gear"),
        ("bfp-kv:bits=3", "bfp-kv:bits=5", "bfp-kv"),
        ("vidkv:anomalous=0:group=32:residual=32", "vidkv:group=32:residual=32"),
        ("aqua-kv:buffer=16", "aqua-kv:bits=3:buffer=16", "aqua-kv:bits=4:buffer=16"),
    ),
)
def test_more_bits_lose_less(states, texts: tuple[str, ...]) -> None:
    middle = slice(12, 18)
    model = states.model.model_copy(update={"layers": 6})
    some = replace(states, model=model, layers=states.layers[middle], projections=states.projections[middle])
    errors = [missed(some, text) for text in texts]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] < 1.2
