"""Retrieval papers on worked cases: what is read, fetched and kept as an index, and the work of choosing, by hand."""

import numpy as np
import pytest

from kvsim import find
from kvsim.cost.cacheops import end_ops
from kvsim.cost.op import Op
from kvsim.onestep import step
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

LLAMA = find.model("llama-3-8b")  # 32 layers, 8 kv heads of 128 channels: 512 bytes a token, layer and kv head
ROW, LAYERS, HEADS = 512, 32, 8


@pytest.fixture(autouse=True)
def papers_own_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked cases are the papers': what was measured since does not enter."""
    monkeypatch.setattr(find, "profile", lambda name: {})


def laid(text: str, fidelity: str = "ideal") -> Layout:
    return Layout(policy(text, fidelity), LLAMA, 1, 16)


def stored(text: str, tokens: int) -> int:
    return int(laid(text).stored(np.array([tokens]), np.array([tokens]))[0])


def rows(text: str, tokens: int, fidelity: str = "ideal") -> dict[str, list[int]]:
    """Figures of one layer of each kind by name, and bytes in HBM, at home and fetched by a step, once `tokens` are
    cached."""
    layout = laid(text, fidelity)
    column = layout.columns(tokens, np.array([tokens]))[:, 0].tolist()
    kinds = len(layout.kinds)
    found = {name: column[i * kinds : (i + 1) * kinds] for i, name in enumerate(layout.measures)}
    return found | {"tiers": column[layout.hbm_row :]}


def ops(text: str, context: int, batch: int = 1) -> dict[str, list[Op]]:
    """A decode step's Ops by name."""
    found: dict[str, list[Op]] = {}
    for op in step(hw="h100", model="llama-3-8b", policy=text, context=context, batch=batch).ops:
        found.setdefault(op.name, []).append(op)
    return found


def at_the_end(text: str, prompt: int) -> dict[str, Op]:
    """Ops once a prompt is complete, of the last layer kind."""
    return {op.name: op for op in end_ops(laid(text), prompt)}


def moved(ops: list[Op]) -> float:
    return sum(op.count * op.bytes for op in ops)


def test_clusterkv_reads_sinks_budget_and_the_open_window() -> None:
    """10,000 tokens: 31 windows of 320 are clustered in 124 clusters, 80 tokens are not yet."""
    found = rows("clusterkv", 10_000)
    assert found["tokens"] == [HEADS * 10_000, HEADS * (16 + 1024 + 80)]
    assert found["scanned"] == [0, HEADS * 124]
    assert stored("clusterkv", 10_000) == 10_000 * 131_072 + 30 * HEADS * (124 * 256 + 31 * 320 * 4)


def test_clusterkv_fetches_what_the_step_before_had_not_chosen() -> None:
    hbm, dram, fetched = rows("clusterkv", 9_920)["tiers"]
    assert fetched == 30 * HEADS * 379 * ROW  # ceil(0.37 x 1024) tokens of 30 layers
    rows_away, index = 9_920 * HEADS * 30 * ROW, 30 * HEADS * (124 * 256 + 9_920 * 4)
    dense, held = 9_920 * HEADS * 2 * ROW, (16 + 1024 + 320) * HEADS * 30 * ROW
    assert dram == pytest.approx(rows_away, abs=1) and hbm == pytest.approx(dense + index + held, abs=1)
    again = rows("clusterkv", 9_920, "published")["tiers"]
    assert again[2] == 4 * fetched  # each of 4 query heads recalls rows for itself


def test_clusterkv_without_offloading_fetches_nothing() -> None:
    assert len(rows("clusterkv:offload=false", 9_920)["tiers"]) == 1


def test_k_means_of_a_prompt() -> None:
    """9,920 keys against 124 centroids, 20 times in 30 layers."""
    found = at_the_end("clusterkv", 9_920)
    assert found["assign_keys"].count == 30 * 20
    assert found["assign_keys"].flops["bf16"] == 2 * 9_920 * 124 * 128 * HEADS
    assert found["assign_keys"].bytes == HEADS * 9_920 * (256 + 4)


def test_centroids_are_scored_each_step() -> None:
    found = ops("clusterkv", 9_920, batch=3)["score_centroids"]
    assert moved(found) == 3 * 30 * HEADS * 124 * (256 + 16)
    assert sum(op.count * op.flops["alu"] for op in found) == 3 * 30 * HEADS * 124 * 4 * 128


def test_tidaldecode_reads_four_layers_whole() -> None:
    """Layers 0 to 2 and 13 read 100,000 tokens, 28 layers 512: 8 times less than all."""
    found = rows("tidaldecode", 100_000)
    layout = laid("tidaldecode")
    read = sum(kind.layers * tokens for kind, tokens in zip(layout.kinds, found["tokens"], strict=True))
    assert read == HEADS * (4 * 100_000 + 28 * 512)
    assert stored("tidaldecode", 100_000) == 100_000 * 131_072


def test_tidaldecode_searches_scores_in_two_layers() -> None:
    found = ops("tidaldecode", 10_000)
    assert sum(op.count for op in found["choose_positions"]) == 2
    assert moved(found["export_scores"]) == 2 * 2 * HEADS * 10_000 * 2 * 4
    assert moved(found["read_positions"]) == 28 * HEADS * 512 * 4


def test_tidaldecode_speeds_up_a_long_context_as_its_paper_says() -> None:
    """Catalogue: up to 2.1x lower latency, Llama-2-7B at 100K tokens on an A100, batch 1."""
    seconds = [
        float(step(hw="a100-80", model="llama-2-7b", policy=text, context=100_000).seconds)
        for text in ("full", "tidaldecode")
    ]
    assert 2.1 < seconds[0] / seconds[1] < 5


def test_sentencekv_keeps_candidates_and_reads_a_budget() -> None:
    """5 x 128 candidates and 64 that are always read, in 36 sentences of 20 tokens; 192 tokens are read a step."""
    found = rows("sentencekv", 5000)
    assert found["kept"] == [HEADS * 704]
    assert found["tokens"] == [HEADS * 192] and found["scanned"] == [HEADS * 36]
    assert stored("sentencekv", 5000) == 32 * HEADS * (704 * ROW + 36 * (256 + 4))
    assert found["tiers"][2] == 32 * HEADS * 39 * ROW  # ceil(0.3 x 128) tokens anew


def test_sentencekv_as_released_repeats_heads_and_waits_for_the_host() -> None:
    assert rows("sentencekv", 5000, "published")["tiers"][2] == 4 * rows("sentencekv", 5000)["tiers"][2]
    found = step(hw="h100", model="llama-3-8b", policy="sentencekv", context=5000, fidelity="published").ops
    assert [op.count for op in found if op.name == "sort_on_host"] == [32]


def test_a2ats_names_every_key_in_two_bytes() -> None:
    """Codes in HBM, 4 + 64 rows too; 3 % of the tokens are read, on the host; 256 codebooks of a MiB."""
    found = rows("a2ats", 20_000)
    assert found["tokens"] == [HEADS * 600] and found["scanned"] == [HEADS * 20_000]
    hbm, dram, fetched = found["tiers"]
    assert dram == pytest.approx(20_000 * 131_072, abs=1) and fetched == 0
    assert hbm == pytest.approx(256 * (20_000 * 2 + 68 * ROW), abs=1)
    assert laid("a2ats").static_bytes == 256 * 4096 * 128 * 2


def test_a2ats_attends_on_the_host() -> None:
    found = ops("a2ats", 20_000)
    assert moved(found["attention_on_host"]) == 256 * 600 * ROW
    assert sum(op.count * op.flops["fp32"] for op in found["attention_on_host"]) == 4 * 128 * 32 * 600 * 32
    assert moved(found["send_queries"]) == 32 * (2 * 32 * 128 + HEADS * 600 * 4)
    assert moved(found["attention_decode"]) == 32 * (HEADS * 68 * ROW + 4 * 32 * 128)
    assert moved(found["look_up_scores"]) == 32 * (2 * 32 * 4096 + HEADS * 20_000 * (2 + 2 * 4))


def test_rekv_stores_an_hour_of_video_in_the_papers_bytes() -> None:
    """Catalogue: 18.8 GB an hour of LLaVA-OV-7B (Qwen2-7B: 28 layers, 4 kv heads) at half a frame a second."""
    qwen = Layout(policy("rekv"), find.model("qwen2.5-7b"), 1, 16)
    tokens = np.array([1800 * 196])
    index = 28 * 4 * 1800 * 256
    assert int(qwen.stored(tokens, tokens)[0]) == 1800 * 196 * 57_344 + index
    assert int(qwen.parts(tokens, tokens).value[0]) * 2 / 2**30 == pytest.approx(18.8, abs=0.05)


def test_rekv_reads_a_video_under_its_window_and_fetches_frames_once() -> None:
    video = 1800 * 196
    found = rows("rekv", video)
    assert found["tokens"] == [HEADS * (14 + 64 * 196 + 256)] and found["tiers"][2] == 0
    fetch = at_the_end("rekv", video)["fetch_frames_h2d"]
    assert fetch.count * fetch.bytes == 64 * 196 * 131_072
    assert set(at_the_end("rekv:tier=flash", video)) >= {"fetch_frames_nvme_read", "fetch_frames_h2d"}
    short, long = (
        float(step(hw="h100", model="llama-3-8b", policy="rekv", phase="prefill", context=n).seconds)
        for n in (100_000, 200_000)
    )
    assert long / short == pytest.approx(2, rel=0.1)  # linear in frames


def test_rekv_waits_for_its_frames() -> None:
    """64 frames over PCIe 5 at 85 % of 63 GB/s, 32 layers one after the other."""
    whole = step(hw="h100", model="llama-3-8b", policy="rekv", phase="prefill", context=50_000)
    at = [op.name for op in whole.ops].index("fetch_frames_h2d")
    assert whole.op_seconds[at] == pytest.approx(64 * 196 * 131_072 / (0.85 * 63e9), rel=0.05)
    assert float(whole.seconds) >= whole.lanes["gpu"] + whole.op_seconds[at]


def test_subgen_keeps_rows_and_the_keys_of_its_clusters() -> None:
    """20,000 tokens: 1,024 rows; 18,976 older ones in ceil(4 sqrt(18,976)) = 552 clusters of a representative and 4."""
    layout = laid("subgen")
    assert layout.kept(1, np.array([20_000]))[0, :, 0].tolist() == [1024, 552 * 5]
    assert stored("subgen", 20_000) == 256 * (1024 * (ROW + 4) + 552 * 5 * (256 + 4) + 4)
    assert layout.kept(1, np.array([1400]))[0, :, 0].tolist() == [1024, 376]  # clusters would hold more than there are


def test_subgen_takes_a_prompt_token_by_token() -> None:
    turns = at_the_end("subgen", 20_000)["take_turns"]
    assert turns.count == 20_000 and turns.launches == 0.4
    half, whole = (float(at_the_end("subgen", n)["cluster_stream"].flops["alu"]) for n in (10_000, 20_000))
    assert whole / half == pytest.approx(2**1.5, rel=0.01)
