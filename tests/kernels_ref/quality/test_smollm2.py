"""The real model, where its package is installed: that it is read right, and what policies do to it."""

import pytest
import torch

from kernels_ref.quality.source import INSTALL, shipped

if shipped() is None:
    pytest.skip(f"SmolLM2-135M is not installed: {INSTALL}", allow_module_level=True)

from kernels_ref.quality import table
from kernels_ref.quality.__main__ import OUT
from kernels_ref.quality.measures import perplexity, relative_errors
from kernels_ref.quality.recorder import Recorder, full_attention
from kernels_ref.quality.start import Bench
from kernels_ref.quality.texts import TEXTS

PROSE = (
    "The Amazon rainforest is the largest tropical forest in the world. It covers most of the Amazon basin of South "
    "America, and is home to millions of species of plants, insects, birds and other animals. The river that runs "
    "through it carries more water than any other river on Earth."
)


@pytest.fixture(scope="module")
def bench():
    return Bench(["licence", "docs"], None, "cpu", 1536, 64)


def logits(bench, ids):
    with torch.no_grad():
        return Recorder(bench.language).read(ids).logits


def test_the_spec_is_the_file_s(bench):
    assert bench.language.model.name == "SmolLM2 135M"
    assert bench.language.source.rope_theta == 100_000
    assert bench.language.decoder.weights.nbytes == 4 * bench.language.model.parameters


def test_text_comes_back_from_its_tokens(bench):
    text = TEXTS["code"]()[:3000] + " naïve Ω 1234\t\n\n  <|im_start|>"
    ids = bench.language.tokens(text)
    assert bench.language.text(ids) == text
    assert bench.language.source.encode(" 2024") == bench.language.source.encode(" ") + [
        bench.language.source.encode(digit)[0] for digit in "2024"
    ]  # digits are split


def test_it_knows_its_language(bench):
    """Wrongly ordered rotary pairs, or another base, give hundreds."""
    ids = bench.language.tokens(PROSE)
    assert perplexity(logits(bench, ids)[:-1], ids[1:]) < 10
    capital = bench.language.tokens("The capital of France is")
    assert bench.language.text(logits(bench, capital)[-1:].argmax(-1)) == " Paris"


def rounded(rows, bits, per_channel):
    """Rows [Hk, T, D] at `bits`, in groups of 32 of one channel's tokens, or of one token's channels."""
    tokens = rows.shape[1] // 32 * 32
    groups = rows[:, :tokens].unflatten(1, (-1, 32)) if per_channel else rows[:, :tokens].unflatten(2, (-1, 32))
    along = 2 if per_channel else 3
    least, most = groups.amin(along, keepdim=True), groups.amax(along, keepdim=True)
    step = (most - least) / (2**bits - 1)
    return torch.cat(
        [(((groups - least) / step).round() * step + least).reshape(rows[:, :tokens].shape), rows[:, tokens:]], 1
    )


@pytest.mark.parametrize(
    ("bits", "per_channel", "expected"), [(2, True, 0.55), (2, False, 0.91), (4, True, 0.10), (4, False, 0.17)]
)
def test_keys_are_quantized_by_channel_for_a_reason(bench, bits, per_channel, expected):
    """Every cached row at few bits, the queries' own included: errors published elsewhere for this model, about."""
    ready = [bench._ready(name) for name in ("licence", "docs")]
    errors = []
    with torch.no_grad():
        for one in ready:
            outputs = []
            for before, new in zip(one.prompt.layers, one.new.states.layers, strict=True):
                both = before.join(new)
                keys, values = rounded(both.keys, bits, per_channel), rounded(both.values, bits, False)
                outputs.append(full_attention(new.queries, keys, values))
            errors.append(relative_errors(outputs, one.new.outputs).mean())
    assert sum(errors) / len(errors) == pytest.approx(expected, rel=0.15)


def test_evictions_rank_as_they_do_elsewhere(bench):
    names = ("snapkv", "tova", "streaming", "l2-norm-kv", "random")
    rows = [[bench.row(name, 0.25, text) for text in ("licence", "docs")] for name in names]
    errors = [sum(row.error for row in each) / 2 for each in rows]
    assert errors == sorted(errors)
    assert errors == pytest.approx([0.14, 0.21, 0.26, 0.45, 0.86], rel=0.45)
    assert all(row.reached and row.stored_share <= 0.25 for each in rows for row in each)


@pytest.mark.parametrize(("policy", "budget"), [("snapkv", 0.25), ("kivi", 0.5), ("streaming", 0.1), ("fp8", 0.5)])
def test_committed_rows_come_out_again(bench, policy, budget):
    committed = {(row.policy, row.budget, row.text): row for row in table.read(OUT)} if OUT.is_file() else {}
    before = committed.get((policy, budget, "licence"))
    if before is None:
        pytest.skip(f"{OUT.name} has no such row")
    now = bench.row(policy, budget, "licence")
    assert (now.digest, now.setting) == (before.digest, before.setting)
    assert now.stored_share == pytest.approx(before.stored_share, rel=1e-4)
    for name in ("error", "kept_mass", "perplexity", "perplexity_full"):
        assert getattr(now, name) == pytest.approx(getattr(before, name), rel=0.01)
    assert now.kl == pytest.approx(before.kl, rel=0.05, abs=1e-4)
