"""Prefill papers on worked cases: tokens that reach a layer, work that is saved or added, auxiliary models, by hand."""

import numpy as np
import pytest

from kvsim import find
from kvsim.cost.op import Op
from kvsim.errors import UserError
from kvsim.onestep import Step, step
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

LLAMA = find.model("llama-3-8b")  # 32 layers, 8 kv heads of 128 channels: 512 bytes a token, layer and kv head
ROW, LAYERS, HEADS = 512, 32, 8


@pytest.fixture(autouse=True)
def papers_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked cases are the papers': what was measured since does not enter."""
    monkeypatch.setattr(find, "profile", lambda name: {})


def laid(text: str, model: str = "llama-3-8b") -> Layout:
    return Layout(policy(text), find.model(model), 1, 16)


def kept(text: str, prompt: int, context: int) -> list[int]:
    """Tokens by head group, in the order of layers."""
    return [int(tokens) for tokens in laid(text).kept(prompt, np.array([context]))[:, :, 0].sum(axis=1)]


def stored(text: str, prompt: int, context: int, model: str = "llama-3-8b") -> int:
    return int(laid(text, model).stored(np.array([prompt]), np.array([context]))[0])


def prefill(text: str, tokens: int, fidelity: str = "ideal") -> Step:
    return step(hw="h100", model="llama-3-8b", policy=text, phase="prefill", context=tokens, fidelity=fidelity)


def named(found: Step, name: str) -> list[Op]:
    return [op for op in found.ops if op.name == name]


def flops(ops: list[Op]) -> float:
    return sum(float(op.count * op.flops.get("bf16", 0.0)) for op in ops)


def test_pyramidinfer_cuts_from_layer_to_layer_as_its_code_does() -> None:
    """1,000 tokens, 200 of them the newest: the others shrink by a cosine from 1 to 0.9, cut to whole tokens."""
    lengths, before = [1000], 799
    for layer in range(31):
        before = int(before * (0.1 * (np.cos(np.pi * layer / 32) + 1) / 2 + 0.9))
        lengths.append(before + 201)
    assert kept("pyramidinfer", 1000, 1000) == lengths
    assert lengths[31] == 373


def test_pyramidinfer_leaves_few_tokens_alone() -> None:
    assert kept("pyramidinfer", 80, 80) == [80] * 32  # 63 before the newest: a cut would leave fewer than 64


def test_pyramidinfer_thins_generated_tokens_in_blocks() -> None:
    """Of 16 the first layer keeps int(14.4), the last int(16 x 0.9 x 0.102) = 1."""
    before, after = kept("pyramidinfer", 1000, 1015), kept("pyramidinfer", 1000, 1016)
    assert (before[0], after[0]) == (1015, 1014) and (before[31], after[31]) == (373 + 15, 373 + 1)
    assert kept("pyramidinfer", 1000, 1033)[0] == 1000 + 2 * 14 + 1


def test_pyramidinfer_computes_less_in_deeper_layers() -> None:
    """GEMMs of layers follow the tokens that reach them, attention their squares."""
    shares = np.array(kept("pyramidinfer", 100_000, 100_000)) / 100_000
    full, thin = prefill("full", 100_000), prefill("pyramidinfer", 100_000)
    assert flops(named(thin, "up_proj")) / flops(named(full, "up_proj")) == pytest.approx(shares.mean(), rel=1e-3)
    pairs = flops(named(thin, "attention_prefill")) / flops(named(full, "attention_prefill"))
    assert pairs == pytest.approx((shares**2).mean(), rel=1e-3)
    scores = flops(named(thin, "recent_scores")) / flops(named(thin, "attention_prefill"))
    assert scores == pytest.approx(0.36 / 2, rel=1e-9)  # of the pairs, 1 - 0.8^2 are of the newest; no values


def test_pyramidinfer_as_released_writes_its_scores() -> None:
    found = named(prefill("pyramidinfer", 8000, "published"), "score_matrix")
    first = max(op.bytes for op in found)
    assert first == 8000 * 8001 / 2 * 32 * 16  # fp32, written once and read thrice


def test_locret_keeps_a_budget_with_scores() -> None:
    """Catalogue: 20x and 8x of 128K tokens at budgets of 6000 and 16384, before the scores of 2 bytes."""
    assert kept("locret", 131_072, 131_072) == [6000]
    assert stored("locret", 131_072, 131_072) == 256 * 6000 * (ROW + 2)
    ratios = [131_072 * ROW / stored(f"locret:budget={n}", 131_072, 131_072) * 256 for n in (6000, 16_384)]
    assert ratios == pytest.approx([21.8, 8.0], rel=0.01)


def test_locret_reads_a_prompt_against_its_budget() -> None:
    layout = laid("locret")
    assert layout.allocated_while_prefilling(np.array([100_000]))[0, 0] == 256 * 9072 * (ROW + 2)  # and a chunk
    long, longer = (float(prefill("locret", n).seconds) for n in (100_000, 200_000))
    assert longer / long == pytest.approx(2, rel=0.05)


def test_locret_fits_an_8b_model_of_128k_tokens_on_a_24_gb_card() -> None:
    """Catalogue: one RTX 4090. bf16 weights and a budget of 16,384 tokens fit, 128K tokens do not."""
    room = 24e9 - LLAMA.weight_bytes - laid("locret").static_bytes
    assert stored("locret:budget=16384", 131_072, 131_072) < room < stored("full", 131_072, 131_072)


def test_retaining_heads_are_two_matrices_a_layer() -> None:
    """An MLP from queries, keys and values (4096 + 2048) over 1024 to 8 scores."""
    weights = 2 * 1024 * (6144 + 8)
    assert laid("locret").static_bytes == 32 * weights
    assert named(prefill("locret", 3000), "retaining_weights")[0].bytes == weights
    assert flops(named(prefill("locret", 3000), "retaining_heads")) == 32 * 3000 * weights


def test_zipvl_attends_among_important_tokens() -> None:
    """40 % of the tokens: 16 % of the pairs, and all tokens through the GEMMs."""
    full, sparse = prefill("full", 32_768), prefill("zipvl", 32_768)
    assert flops(named(sparse, "attention_prefill")) == pytest.approx(0.16 * flops(named(full, "attention_prefill")))
    assert flops(named(sparse, "up_proj")) == flops(named(full, "up_proj"))
    probes = named(sparse, "window_scores")[0]
    assert probes.count == 32 and flops([probes]) == 32 * 2 * 128 * 4 * 32_768 * 8 * 128


def test_zipvl_stores_important_tokens_at_four_bits() -> None:
    """10,000 coded tokens: 4,000 at 4 bits, 6,000 at 2; channels' figures of each class, tokens' scale and score."""
    codes = 256 * (4000 * 128 + 6000 * 64) + 256 * 2 * (4 * 128 + 2 * 128)
    tokens = 32 * (4 + 4) * 10_000
    assert stored("zipvl", 10_000, 10_000) == codes + tokens


def test_kv_prediction_reads_a_prompt_with_half_of_the_layers() -> None:
    full, half = prefill("full", 8192), prefill("kv-prediction", 8192)
    assert flops(named(half, "attention_prefill")) == flops(named(full, "attention_prefill")) / 2
    up = flops(named(full, "up_proj"))
    assert flops(named(half, "up_proj")) == pytest.approx(up / 2 + up / 8192)  # and the last position in all layers
    maps = named(half, "predict_keys") + named(half, "predict_values")
    assert flops(maps) == 32 * 2 * 2 * 8192 * 1024**2
    assert 1.8 < float(full.seconds) / float(half.seconds) < 2


def test_kv_prediction_holds_both_caches_and_both_models() -> None:
    layer = LLAMA.attention_parameters + LLAMA.mlp_parameters(14_336)
    maps = 32 * 2 * 2 * 1024**2
    assert laid("kv-prediction").static_bytes == 2 * (16 * layer + 128_256 * 4096) + maps
    assert (
        laid("kv-prediction").allocated_while_prefilling(np.array([8192]))[0, 0] == (4096 + 8192) * 131_072
    )  # and the next token's page
    assert stored("kv-prediction", 8192, 8192) == stored("full", 8192, 8192)


DRAFT = 16 * (2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 8192)  # weights of Llama 3.2 1B's layers


def test_a_draft_reads_the_prompt_and_writes_ahead() -> None:
    found = prefill("speckv", 8192)
    gemms = [op for name in ("qkv_proj", "o_proj", "up_proj", "down_proj") for op in named(found, f"draft_{name}")]
    assert flops(gemms) == 2 * 8192 * DRAFT
    pairs = 8192 * 8193 / 2
    assert flops(named(found, "draft_attention")) == 16 * pairs * 4 * 64 * 32
    ahead = [op for op in found.ops if op.name.startswith("draft_ahead_") and op.kind == "gemm"]
    assert flops(ahead) == 64 * 2 * (DRAFT + 128_256 * 2048)
    weights = sum(op.count * op.bytes for op in found.ops if op.name.startswith("draft_") and "weights" in op.name)
    assert weights == 2 * DRAFT
    assert laid("speckv").static_bytes == 2 * find.model("llama-3.2-1b").parameters


def test_speckv_attends_to_a_window_and_columns() -> None:
    sparse, full = prefill("speckv", 100_000), prefill("full", 100_000)
    share = (4096 * 4097 / 2 + (100_000 - 4096) * 4096) / (100_000 * 100_001 / 2)
    assert flops(named(sparse, "attention_prefill")) == pytest.approx(share * flops(named(full, "attention_prefill")))
    assert kept("speckv", 100_000, 100_100) == [612]
    votes = named(sparse, "window_scores")[0]
    assert flops([votes]) == 32 * 2 * (96 * 4) * (100_000 * 8) * 128  # 32 queries and 64 that were written ahead


def test_specpc_reads_what_the_draft_chose() -> None:
    found = prefill("specpc", 100_000)
    assert flops(named(found, "up_proj")) == pytest.approx(32 * 2 * 1024 * 4096 * 28_672)
    assert flops(named(found, "attention_chosen")) == 32 * (1024 * 1025 / 2) * 4 * 128 * 32
    assert not named(found, "attention_prefill")
    assert kept("specpc", 100_000, 100_100) == [1124]
    scores = named(found, "draft_scores")[0]
    assert flops([scores]) == (16 - 8) * 2 * (64 * 4) * (100_000 * 8) * 64


def test_specpc_sets_the_drafts_cache_aside_while_it_reads() -> None:
    """32 KiB a token of the draft, and the rows of 1,024 tokens: a quarter of what the model's own cache would take."""
    held = laid("specpc").allocated_while_prefilling(np.array([100_000]))[0, 0]
    assert held == 100_000 * 32_768 + 1024 * 131_072
    assert laid("specpc").rows_at(np.array([100_000]), np.array([100_000]))[-1, 0] == 1024 * 131_072


def test_speckv_pc_is_both() -> None:
    found = prefill("speckv-specpc", 100_000)
    assert flops(named(found, "up_proj")) == pytest.approx(32 * 2 * (2048 + 64) * 4096 * 28_672)
    pairs = 2048 * 2049 / 2 + 64 * 2048 + 64 * 65 / 2
    assert flops(named(found, "attention_chosen")) == 32 * pairs * 4 * 128 * 32
    assert kept("speckv-specpc", 100_000, 100_000) == [512]
    assert flops(named(found, "window_scores")) == 32 * 2 * (96 * 4) * (2048 * 8) * 128


@pytest.mark.parametrize("text", ["speckv", "specpc", "speckv-specpc"])
def test_a_draft_with_experts_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="a draft must be dense"):
        prefill(f"{text}:draft=mixtral-8x7b", 1000)


def test_specpc_pays_where_prompts_are_long() -> None:
    """The draft reads all of it: an eighth of the FLOPs of an 8B model, and no more."""
    full, cut = (float(prefill(text, 65_536).seconds) for text in ("full", "specpc"))
    assert 3 < full / cut < 8
