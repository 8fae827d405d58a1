"""Eviction and head-wise papers on worked cases: tokens and bytes computed by hand from what the paper or code says."""

import numpy as np
import pytest

from kvsim import find
from kvsim.onestep import step
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy
from kvsim.traits.profile import Figure

LLAMA = find.model("llama-3-8b")  # 32 layers, 8 kv heads of 128 channels: 512 bytes a token, layer and kv head
ROW = 512


@pytest.fixture(autouse=True)
def papers_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked cases are the papers': what was measured since does not enter."""
    monkeypatch.setattr(find, "profile", lambda name: {})


def kept(text: str, prompt: int, context: int, model: str = "llama-3-8b", **profile: Figure) -> list[int]:
    """Tokens by head group, in the order of layers."""
    layout = Layout(policy(text, profile=profile), find.model(model), 1, 16)
    return [int(tokens) for tokens in layout.kept(prompt, np.array([context]))[:, :, 0].sum(axis=1)]


def stored(text: str, prompt: int, context: int, fidelity: str = "ideal", tp: int = 1) -> int:
    layout = Layout(policy(text, fidelity), LLAMA, tp, 16)
    return int(layout.stored(np.array([prompt]), np.array([context]))[0])


def test_a_pyramid_falls_by_whole_steps() -> None:
    least, most = 2016 // 20, 2 * 2016 - 2016 // 20
    step_ = (most - least) // 31
    budgets = [most - layer * step_ + 32 for layer in range(32)]
    assert kept("pyramidkv", 10_000, 10_000) == budgets
    assert kept("pyramidkv", 10_000, 10_100) == [tokens + 100 for tokens in budgets]
    assert sum(budgets) / 32 == pytest.approx(2048, rel=0.01)


def test_a_pyramid_is_flat_for_prompts_below_twice_its_budget() -> None:
    assert kept("pyramidkv", 4031, 4031) == [2048] * 32  # q_len < (capacity - window) * 2 in KVCache-Factory
    assert kept("pyramidkv", 4032, 4032) != [2048] * 32
    assert kept("pyramidkv", 1000, 1000) == [1000] * 32


def test_scissorhands_drops_half_of_a_full_cache_at_once() -> None:
    sizes = [kept("scissorhands", 3000, 3000 + n)[0] for n in (0, 1, 1023, 1024, 1025)]
    assert sizes == [1024, 1025, 2047, 1024, 1025]
    assert kept("scissorhands", 100, 100 + 1946)[0] == 2046  # a short prompt first fills it


def test_a_history_of_bytes_is_larger_than_a_key() -> None:
    packed, bytes_ = (stored("scissorhands", 3000, 3000, fidelity) for fidelity in ("ideal", "published"))
    assert packed == 256 * 1024 * (ROW + 50) and bytes_ == 256 * 1024 * (ROW + 400)


def test_lagkv_thins_a_partition_once_the_next_is_whole() -> None:
    sizes = [kept("lagkv", 1, n)[0] for n in (271, 272, 399, 400, 16 + 128 * 10)]
    assert sizes == [271, 272 - 96, 399 - 96, 400 - 192, 16 + 9 * 32 + 128]


def test_hashevict_keeps_as_many_slots_as_the_prompt_gave() -> None:
    assert kept("hashevict:keep=0.3", 1000, 1000) == kept("hashevict:keep=0.3", 1000, 5000) == [300]
    assert stored("hashevict", 1000, 1000) == 256 * 500 * (ROW + 2)


def test_morphkv_keeps_rows_of_attention_for_every_slot() -> None:
    """32 queries x 4 query heads of a kv head x 2 bytes: half as much again as the slot's key and value."""
    assert stored("morphkv", 5000, 9000) == 256 * 2000 * (ROW + 256)


def test_scope_never_touches_the_prompt_while_decoding() -> None:
    assert kept("scope-kv:strategy=slide", 5000, 5000 + 3000) == [2048 + 1024]
    assert kept("scope-kv", 5000, 5000 + 300) == [2048 + 256 + 20]  # one more each 15 steps
    assert kept("scope-kv", 5000, 5000 + 100_000) == [2048 + 1024]
    saw = [kept("scope-kv:strategy=discontinuous", 5000, 5000 + n)[0] for n in (299, 300, 314, 315)]
    assert saw == [2048 + 256 + 19 + 14, 2048 + 256 + 20, 2048 + 256 + 20 + 14, 2048 + 256 + 21]


def test_squeezeattention_moves_budget_between_layers_at_the_same_total() -> None:
    budgets = kept("squeezeattention", 10_000, 12_000)
    assert budgets == [5500, 2500]  # 16 layers each; (32 * 0.4 - 16 * 0.25) / 16 = 0.55
    assert stored("squeezeattention", 10_000, 12_000) == 16 * 8 * (5500 + 2500) * ROW


def test_squeezeattentions_layers_may_be_any() -> None:
    """Layers 8 to 15 of 32 are low in a figure of four values that says so of the second quarter of another model."""
    low = Figure((0.0, 1.0, 0.0, 0.0), 0.0, "given")
    layout = Layout(policy("squeezeattention", profile={"low_layers": low}), LLAMA, 1, 16)
    assert [kind.index for kind in layout.kinds][1] == tuple(range(6, 16))  # depths from 1/6 to 1/2
    assert kept("squeezeattention", 10_000, 10_000, low_layers=low) == [int((32 * 0.4 - 2.5) / 22 * 10_000), 2500]
    alone = Figure((1.0, 1.0), 0.0, "given")
    assert kept("squeezeattention", 10_000, 10_000, low_layers=alone)[0] > 2500  # one layer is important


def test_l2_norm_leaves_short_prompts_and_two_layers_whole() -> None:
    assert kept("l2-norm-kv", 1000, 1000) == [1000, 1000]
    assert kept("l2-norm-kv", 4000, 4010) == [4010, 2010]
    assert stored("l2-norm-kv", 4000, 4000) == 8 * ROW * (2 * 4000 + 30 * 2000)


def test_layer_budgets_of_a_profile_keep_their_mean() -> None:
    for text in ("cake:capacity=512", "zigzagkv:keep=0.0512"):
        assert sum(kept(text, 10_000, 10_000)) / 32 == pytest.approx(512, abs=1)


def test_duo_attentions_heads() -> None:
    assert kept("duoattention", 100_000, 100_000) == [100_000, 320]
    assert stored("duoattention", 100_000, 100_000) == 32 * 4 * ROW * 100_320
    assert stored("duoattention", 100_000, 100_000, tp=8) == 32 * ROW * 100_000  # a chip whose head is a retrieval head


def test_layers_may_have_unlike_shares_of_retrieval_heads() -> None:
    """All of the first layer's heads, none of the last's, half of them in between: of 32 layers and 8 heads."""
    falling = Figure((2.0, 0.0), 0.0, "given")
    layout = Layout(policy("duoattention", profile={"retrieval_heads": falling}), LLAMA, 1, 16)
    heads = {layer: kind.heads for kind in layout.kinds for layer in kind.index}
    assert (heads[0], heads[31], heads[16]) == ((8,), (8,), (4, 4))
    first, last = layout.kind_of(0), layout.kind_of(31)
    assert layout.prefill_limit(first, 0) is None and layout.prefill_limit(last, 0) == 320
    found = kept("duoattention", 1000, 1000, retrieval_heads=falling)
    assert found[0] == 1000 and found[-1] == 320 and found[1:3] == [1000, 320]


def test_heads_of_layers_may_follow_unlike_rules() -> None:
    rows = Figure((1.0, 0.0, 0.0, 1.0), 0.0, "given", rows=2)  # the first layer whole, the last none of it
    layout = Layout(policy("razorattention", profile={"retrieval_heads": rows}), LLAMA, 1, 16)
    heads = {layer: kind.heads for kind in layout.kinds for layer in kind.index}
    assert (heads[0], heads[31], heads[15]) == ((8,), (8,), (5, 3))  # 1 - 15 / 31 of 8 heads, rounded up
    found = kept("razorattention", 50_000, 50_000, retrieval_heads=rows)
    assert (found[0], found[-1]) == (50_000, 10_005)


def test_duo_attention_reads_a_prompt_with_linear_heads() -> None:
    seconds = {
        text: float(step(hw="a100-80", model="llama-3-8b", policy=text, phase="prefill", context=320_000).seconds)
        for text in ("full", "duoattention", "duoattention:full=0", "streaming:window=316")
    }
    assert seconds["duoattention:full=0"] == pytest.approx(seconds["streaming:window=316"], rel=1e-9)
    assert seconds["full"] / seconds["duoattention"] == pytest.approx(1.63, rel=0.12)  # paper: 1.63x at 320K on an A100


def test_razorattention_keeps_a_token_for_the_dropped_ones() -> None:
    assert kept("razorattention", 50_000, 60_000) == [60_000, 10_000 + 4 + 1]
    assert kept("razorattention", 3000, 3500) == [3500, 3500]
    found = stored("razorattention", 50_000, 50_000)
    assert found == 32 * ROW * (2 * 50_000 + 6 * 10_005)  # 15 % of 8 kv heads are two of them


def test_headkv_splits_a_pool_by_importance() -> None:
    budgets = kept("headkv", 20_000, 20_000)
    base, pool = 992, int(992 / 1.2)
    assert len(budgets) == 8 and budgets == sorted(budgets, reverse=True)
    assert min(budgets) >= base - pool + 32 and sum(budgets) / 8 == pytest.approx(1024, abs=1)
    assert stored("headkv", 20_000, 20_000, "published") == 4 * stored("headkv", 20_000, 20_000)


def test_headkvs_pool_is_one_for_all_layers() -> None:
    rows = Figure((3.0, 1.0, 0.0, 0.0), 0.0, "given", rows=2)  # two heads of the first layer, none of the last
    budgets = kept("headkv", 20_000, 20_000, head_importance=rows)
    base, pool = 992, int(992 / 1.2)
    assert len(budgets) == 32 * 8 and sum(budgets) / 256 == pytest.approx(1024, abs=1)
    assert budgets[0] == pytest.approx(base - pool + 3 * pool + 32, abs=1) and budgets[-1] == base - pool + 32


def test_fastgens_heads_follow_rules() -> None:
    """20 % of 8 heads are two (rounded up), then 20, 30, 15 and 15 %."""
    assert kept("fastgen", 1000, 2000) == [2000, 704, 404, 104, 4]
    heads = Layout(policy("fastgen"), LLAMA, 1, 16).kinds[0].heads
    assert heads == (2, 2, 2, 1, 1)


def test_finch_reads_a_document_in_linear_time() -> None:
    def attention_s(tokens: int) -> float:
        shown = step(hw="h100", model="llama-3-8b", policy="finch", phase="prefill", context=tokens)
        names = [op.name for op in shown.ops]
        return float(shown.op_seconds[names.index("attention_prefill")])

    assert attention_s(128_000) / attention_s(64_000) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize(
    ("text", "does"),
    [
        ("h2o", "score_sums"),
        ("snapkv", "window_scores"),
        ("cake", "cascade"),
        ("l2-norm-kv", "key_scores"),
        ("lagkv", "lag_scores"),
        ("hashevict", "hash_keys"),
        ("kvcrush", "head_bits"),
        ("windowkv", "classifier"),
        ("squeezeattention", "cluster_layers"),
        ("finch", "rotate_kept"),
        ("razorattention", "compensation_mean"),
    ],
)
def test_scoring_is_charged_at_the_prompts_end_when_something_goes(text: str, does: str) -> None:
    names = [op.name for op in step(hw="h100", model="llama-3-8b", policy=text, phase="prefill", context=30_000).ops]
    assert does in names


def test_nothing_is_scored_where_nothing_goes() -> None:
    names = {op.name for op in step(hw="h100", model="llama-3-8b", policy="snapkv", phase="prefill", context=2000).ops}
    assert not names & {"window_scores", "window_votes", "gather_kept"}
