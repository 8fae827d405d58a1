"""Every policy in `policies/kv`, found by discovery: exact bytes, what it keeps, and the catalogue's arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvsim.find as find
from kvsim.engine.capacity import capacity
from kvsim.errors import UserError
from kvsim.onestep import step
from kvsim.replay import serving_preset
from kvsim.traits.encoding import GroupQuantizer
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

POLICIES = find.paper_names("kv")
FIDELITIES = ("ideal", "published")
MODELS = ("llama-3-8b", "llama-2-7b", "gemma-2-9b", "deepseek-v2-lite", "qwen2.5-7b")
MI = 1 << 20


def layout(text: str, model: str = "llama-3-8b", tp: int = 1, fidelity: str = "ideal") -> Layout:
    return Layout(policy(text, fidelity), find.model(model), tp, 16)


def stored(text: str, context: int, prompt: int = 1, **more: object) -> int:
    return int(layout(text, **more).stored(np.array([prompt]), np.array([context]))[0])  # type: ignore[arg-type]


CONTEXTS = np.array([1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 129, 255, 256, 2003, 2004, 2005, 5000])


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("text", POLICIES)
def test_bytes_around_every_boundary(text: str, fidelity: str, model: str) -> None:
    """Positive, never less a period later, and at most the full cache's but for what is named."""
    laid, full = layout(text, model, fidelity=fidelity), layout("full", model)
    prompts = np.minimum(CONTEXTS, 40)
    now, later = laid.stored(prompts, CONTEXTS), laid.stored(prompts, CONTEXTS + laid.policy.period)
    assert (now > 0).all() and (later >= now).all()
    repeated = sum(laid.kinds[0].heads) // full.geo.kv_heads
    assert repeated == 1 or fidelity == "published"  # repeat_kv before caching
    whole = full.stored(prompts, CONTEXTS) * repeated
    if not above_full(text):
        assert (now <= whole).all()
    if text != "cskv":  # which stores its window twice
        assert (laid.parts(prompts, CONTEXTS).key + laid.parts(prompts, CONTEXTS).value <= whole).all()


def above_full(text: str) -> str:
    return str(find.paper("policy", "kv", text).above_full)


@pytest.mark.parametrize("text", [text for text in POLICIES if above_full(text)])
def test_what_is_named_as_above_full_is(text: str) -> None:
    contexts = np.arange(1, 1000)
    assert (layout(text).stored(contexts, contexts) > layout("full").stored(contexts, contexts)).any()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("text", POLICIES)
def test_an_engine_sets_aside_what_is_stored(text: str, fidelity: str, model: str) -> None:
    """At least that at every step, never less than a step earlier, and the same whether asked at once or in turn."""
    laid = layout(text, model, fidelity=fidelity)
    for prompt in (1, 40, 3000):
        rows = laid.demand(prompt, 300)
        assert rows.shape == (laid.rows, 300) and (rows >= 0).all()
        ends = np.full(300, prompt), prompt + np.arange(1, 301)
        everywhere = rows[laid.hbm_row] + (rows[laid.home_row] if laid.offloaded else 0)
        assert (everywhere >= laid.stored(*ends)).all()
        assert (np.diff(rows[laid.home_row]) >= 0).all()
        assert np.array_equal(rows, laid.rows_at(*ends))
        some = [0, 1, 15, 150, 299]
        each = [laid.rows_at(*(np.array([e[i]]) for e in ends)) for i in some]
        assert np.array_equal(rows[:, some], np.concatenate(each, 1))


def test_a_full_token_is_the_models_own_bytes() -> None:
    for name in find.names("workloads/models"):
        model = find.model(name)
        if model.window is None:
            assert stored("full", 1000, model=name) == 1000 * model.kv_bytes_per_token


def test_headinfer_keeps_two_heads_of_a_million_tokens() -> None:
    """Catalogue: 128 GB of Llama-3-8B's KV at 1M tokens becomes 1 GB on the GPU: two heads of 0.5 GiB."""
    found = step(hw="h100", model="llama-3-8b", policy="headinfer", context=MI)
    assert found.kv_bytes == {"hbm": 2**30, "dram": 128 * 2**30}


def test_four_million_tokens_fit_a_24_gb_card_only_through_the_host() -> None:
    tokens, machine, serving = 4 * 10**6, find.machine("rtx4090"), serving_preset("vllm")
    room = capacity(machine, layout("headinfer"), serving).pool_bytes
    held = layout("headinfer").allocated_while_prefilling(np.array([tokens]))
    assert held[0, 0] <= room["hbm"] and held[1, 0] <= room["dram"]
    assert 4 * MI * 131_072 == 512 * 2**30  # the 512 GiB of host memory that the paper needs
    alone = capacity(machine, layout("full"), serving).pool_bytes["hbm"]
    assert layout("full").allocated_while_prefilling(np.array([tokens]))[0, 0] > 20 * alone


@pytest.mark.parametrize(("bits", "group"), [(2, 32), (2, 64), (4, 32), (2, 128)])
def test_kivi_spends_bits_plus_32_over_group(bits: int, group: int) -> None:
    many = 1 << 16
    parts = GroupQuantizer(bits, group, 128).bytes(np.array([many, 2 * many]), 128, 128)
    grown = int(parts.total[1] - parts.total[0])
    assert grown * 8 == many * 256 * (bits + 32 / group)


def test_kivi_shrinks_the_cache_of_its_own_speed_test() -> None:
    """Catalogue: Llama-2-7B at 498 tokens shrinks to 23 % with R = 32 and 34 % with R = 128 (16-bit residual)."""
    full = stored("full", 498, model="llama-2-7b")
    assert stored("kivi:residual=32", 498, model="llama-2-7b") / full == pytest.approx(0.23, abs=0.015)
    assert stored("kivi:residual=128", 498, model="llama-2-7b") / full == pytest.approx(0.34, abs=0.05)


def test_snapkv_caches_every_query_head_in_its_released_code() -> None:
    assert stored("snapkv", 9000, 9000, fidelity="published") == 4 * stored("snapkv", 9000, 9000)
    assert stored("snapkv", 9000, 9000) == 2048 * 131_072


@given(bits=st.sampled_from([2, 4, 8]), text=st.sampled_from(["full", "headinfer", "offload"]))
def test_halving_the_bytes_at_least_doubles_the_room(bits: int, text: str) -> None:
    serving, machine = serving_preset("vllm"), find.machine("h100")
    whole, half = layout("full"), layout("fp8")
    tokens = [capacity(machine, laid, serving).hbm_bytes // laid.block_bytes * 16 for laid in (whole, half)]
    assert tokens[1] >= 2 * tokens[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("snapkv+h2o", "both set retention"),
        ("headinfer+offload", "both set placement"),
        ("kivi+fp8", "both set quantizer"),
        ("kivi:bits=3", "bits must be 2, 4 or 8"),
        ("kivi:bit=2", "did you mean bits"),
        ("snapkvv", "did you mean snapkv"),
        ("kivi:bits", "a parameter is name=value"),
        ("h2o:heavy=x", "heavy must be float"),
        ("", "unknown policy"),
        ("zipcache+minicache", "layers keep different tokens"),
        ("razorattention+eigen-attention", "heads keep different tokens"),
        ("headkv+cskv", "heads keep different tokens"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        policy(text)


def test_28_heads_do_not_divide_by_8() -> None:
    with pytest.raises(UserError, match="28 heads"):
        layout("full", "qwen2.5-7b", tp=8)
    assert layout("full", "qwen2.5-7b", tp=4).geo.kv_heads == 1
