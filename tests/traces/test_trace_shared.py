"""Real traces give the figures published with them. They lie outside the repository: KVSIM_SHARED, or ../shared."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.stats import stats

TRACES = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces"
AZURE = TRACES / "azure_llm_2023/AzureLLMInferenceTrace_code.csv"
MOONCAKE = TRACES / "mooncake_fast25/conversation_trace.jsonl.gz"
LENGTHS = TRACES / "etalon/sharegpt_8k_filtered_stats_llama2_tokenizer.csv.gz"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces in {TRACES}: set KVSIM_SHARED")


def test_azure_code() -> None:
    figures = stats(read_trace(AZURE))
    assert figures["requests"] == 8819
    assert figures["duration_s"] == pytest.approx(3435.9, abs=0.06)
    assert figures["rate_per_s"] == pytest.approx(2.567, abs=5e-4)
    assert figures["interarrival_cv"] == pytest.approx(13.15, abs=5e-3)
    assert figures["tick_s"] == 1e-6
    prompt, output = figures["prompt_tokens"], figures["output_tokens"]
    assert prompt["mean"] == pytest.approx(2047.8, abs=0.05)
    assert [int(prompt[f"p{q}"]) for q in (1, 10, 25, 50, 75, 95, 99)] == [17, 147, 578, 1469, 2744, 7303, 7436]
    assert prompt["max"] == 7437
    assert output["mean"] == pytest.approx(27.9, abs=0.05)
    assert [int(output[f"p{q}"]) for q in (10, 50, 90, 95, 99)] == [7, 13, 55, 90, 251]
    assert output["max"] == 1899
    assert figures["notes"] == ["prompts look clipped: 353 of 8,819 have 7,437 tokens, the most, or up to 6 fewer"]


def test_mooncake_conversations() -> None:
    figures = stats(read_trace(MOONCAKE))
    assert figures["requests"] == 12031
    assert figures["duration_s"] == pytest.approx(3537.0, abs=0.05)
    assert figures["rate_per_s"] == pytest.approx(3.4015, abs=5e-5)
    assert figures["prompt_tokens"]["mean"] == pytest.approx(12035.1, abs=0.05)
    assert figures["output_tokens"]["mean"] == pytest.approx(342.6, abs=0.05)
    assert (figures["blocks"], figures["unique_blocks"], figures["block_tokens"]) == (288_500, 182_790, 512)
    assert figures["hit_ratio_blocks"] == pytest.approx(0.366, abs=5e-4)
    assert figures["hit_ratio_tokens"] == pytest.approx(0.374, abs=5e-4)
    assert figures["tick_s"] == 3.0
    assert figures["zero_gap_share"] == pytest.approx(0.902, abs=5e-4)
    assert any("the clock ticks every 3 s" in note for note in figures["notes"])
    assert "outputs look clipped: 30 of 12,031 have 2,000 tokens, the most, or up to 1 fewer" in figures["notes"]


def test_dither_makes_mooncake_nearly_poisson() -> None:
    """The counts per tick have a variance of 1.10 means: spread, the gaps have a CV of about 1."""
    plain, spread = read_trace(MOONCAKE), read_trace(MOONCAKE, dither="uniform")
    assert stats(plain)["interarrival_cv"] > 3
    assert stats(spread)["interarrival_cv"] == pytest.approx(1.0, abs=0.05)
    assert (spread.prompt_tokens == plain.prompt_tokens).all()
    shift = spread.arrival_s - plain.arrival_s
    assert shift.min() > -3.01
    assert shift.max() < 3.01


def test_burstgpt_head() -> None:
    trace = read_trace(TRACES / "burstgpt/BurstGPT_1.head30.csv")
    assert len(trace) == 29
    assert trace.dropped == {"0 prompt and 0 output tokens": 1}
    assert any("the clock ticks every 1 s" in note for note in trace.notes)


def test_llmservingsim() -> None:
    mixed = read_trace(TRACES / "llmservingsim/workload_me2_01_mixed.jsonl")
    assert len(mixed) == 608
    assert mixed.arrival_s[-1] == pytest.approx(60.9, abs=0.05)
    example = read_trace(TRACES / "llmservingsim/example_trace.jsonl")
    assert len(example) == 10
    assert example.notes[0] == "prompts share what their token ids share, in blocks of 16, rounded down"


def test_apex() -> None:
    trace = read_trace(TRACES / "apex_plus_lengths/llama_lmsys_05.csv")
    assert len(trace) == 1024
    assert trace.prompt_tokens.mean() == pytest.approx(61.7, abs=0.05)
    assert len(trace) / trace.arrival_s[-1] == pytest.approx(0.5, rel=0.05)
    creation = read_trace(TRACES / "apex_plus_lengths/llama_creation_05.csv")
    assert len(creation) == 512
    assert creation.prompt_tokens.mean() == pytest.approx(308, abs=0.5)
    assert creation.output_tokens.mean() == pytest.approx(1144, abs=0.5)


def test_lengths_without_arrivals() -> None:
    with pytest.raises(UserError, match="has lengths but no column 'arrived_at'"):
        read_trace(LENGTHS)
    lengths = read_trace(LENGTHS, lengths_only=True)
    assert len(lengths) == 30731
    assert lengths.prompt_tokens.mean() == pytest.approx(2340, abs=0.5)
    assert lengths.output_tokens.mean() == pytest.approx(439, abs=0.5)


def test_reading_imports_no_heavy_library() -> None:
    code = (
        "import sys; from kvsim.traces.open import open_trace; open_trace(sys.argv[1], limit=5); "
        "print(sorted({'pandas', 'pint', 'pydantic', 'yaml', 'rich', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(AZURE)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
