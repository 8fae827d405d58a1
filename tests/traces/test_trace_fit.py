"""Fitted generators find the law that made a trace, and their distances are what they say."""

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import kvsim
from kvsim.cli.trace_tools import trace as command
from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.distances import kolmogorov_smirnov, wasserstein
from kvsim.traces.fit import fit
from kvsim.traces.generate import generate
from kvsim.traces.likelihood import laws, mmpp_log_likelihood
from kvsim.traces.open import open_trace
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace
from kvsim.traces.workload import Generate

TRACES = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces"
LENGTHS = {"prompt": {"mean": 800.0, "sigma": 0.8}, "output": {"mean": 150.0, "cv": 1.0}}
samples = st.lists(st.integers(0, 50), min_size=1, max_size=30).map(np.array)


def _made(requests: int = 8000, seed: int = 1, **spec: Any) -> Trace:
    return generate(build(Generate, {"requests": requests, **LENGTHS, **spec}, "test"), seed)


@given(samples, samples)
@settings(max_examples=60, deadline=None, database=None)
def test_distances_equal_plain_sums(one: np.ndarray, other: np.ndarray) -> None:
    steps = range(51)
    below = [(np.mean(one <= step), np.mean(other <= step)) for step in steps]
    assert kolmogorov_smirnov(one, other) == pytest.approx(max(abs(a - b) for a, b in below))
    assert wasserstein(one, other) == pytest.approx(sum(abs(a - b) for a, b in below[:-1]))


@pytest.mark.parametrize(
    ("arrivals", "process"),
    [
        ({"process": "poisson", "rate_per_s": 5.0}, "poisson"),
        ({"process": "gamma", "rate_per_s": 5.0, "shape": 0.3}, "gamma"),
        ({"process": "weibull", "rate_per_s": 5.0, "shape": 0.5}, "weibull"),
        (
            {
                "process": "mmpp",
                "states": [{"rate_per_s": 1.0, "dwell_mean_s": 60.0}, {"rate_per_s": 20.0, "dwell_mean_s": 10.0}],
            },
            "mmpp",
        ),
    ],
)
def test_the_law_that_made_the_gaps_is_found(arrivals: dict[str, Any], process: str) -> None:
    found = fit(_made(30_000, arrivals=arrivals)).spec["arrivals"]
    assert found["process"] == process
    if process == "mmpp":
        slow, fast = sorted(found["states"], key=lambda state: state["rate_per_s"])
        assert (slow["rate_per_s"], fast["rate_per_s"]) == (pytest.approx(1, rel=0.15), pytest.approx(20, rel=0.15))
        assert slow["dwell_mean_s"] == pytest.approx(60, rel=0.5)
        return
    assert found["rate_per_s"] == pytest.approx(5, rel=0.1)
    if "shape" in arrivals:
        assert found["shape"] == pytest.approx(arrivals["shape"], rel=0.05)


def test_likelihoods_by_hand() -> None:
    """Two states of one rate are a Poisson process; and the product by pairs is the product in turn."""
    gaps = np.random.default_rng(0).exponential(0.5, 301)
    assert mmpp_log_likelihood(gaps, 2.0, 2.0, 0.3, 0.7) == pytest.approx(float((math.log(2) - 2 * gaps).sum()))
    rates, leaving = np.diag([1.0, 5.0]), np.array([[-0.2, 0.2], [0.6, -0.6]])
    state, expected = np.array([0.6 * 1.0, 0.2 * 5.0]), 0.0
    state /= state.sum()
    for gap in gaps:
        values, vectors = np.linalg.eig((leaving - rates) * gap)
        state = state @ (vectors @ np.diag(np.exp(values)) @ np.linalg.inv(vectors)).real @ rates
        expected += math.log(state.sum())
        state /= state.sum()
    assert mmpp_log_likelihood(gaps, 1.0, 5.0, 0.2, 0.6) == pytest.approx(expected)
    poisson = next(law for law in laws(gaps) if law.process == "poisson")
    rate = 1 / gaps.mean()
    assert poisson.log_likelihood == pytest.approx(float((math.log(rate) - rate * gaps).sum()))
    assert poisson.aic == pytest.approx(2 - 2 * poisson.log_likelihood)


def test_lengths_are_lognormal_or_quantiles() -> None:
    found = fit(_made(arrivals={"rate_per_s": 5.0})).spec
    assert found["prompt"]["mean"] == pytest.approx(800, rel=0.1)
    assert found["prompt"]["sigma"] == pytest.approx(0.8, rel=0.05)
    two = {"mix": [{"weight": 1.0, "prompt": {"tokens": t}, "output": {"tokens": 5}} for t in (100, 9000)]}
    made = generate(build(Generate, {"requests": 1000, "arrivals": {"rate_per_s": 5.0}, **two}, "test"))
    other = fit(made).spec
    assert other["prompt"]["quantiles"][0] == 100
    assert other["output"] == {"tokens": 5}


def test_a_period_is_found_where_there_is_one() -> None:
    curve = {"period_s": 600.0, "rate_per_s": 5.0, "amplitude": 0.9}
    made = _made(20_000, arrivals={"process": "poisson", "curve": curve})
    found = fit(made, period_s=600.0)
    rates = [rate for _, rate in found.spec["arrivals"]["curve"]["points"]]
    assert len(rates) == 24
    assert max(rates) == pytest.approx(9.5, rel=0.1)
    assert min(rates) == pytest.approx(0.5, abs=0.4)
    assert found.figures["distances"]["gap_s"]["ks"] < 0.05
    assert fit(made).figures["distances"]["gap_s"]["ks"] > 0  # a day is longer than the trace: no curve
    assert "curve" not in fit(made).spec["arrivals"]


def test_prefix_groups_give_the_hits() -> None:
    groups = {"groups": 300, "tokens": {"mean": 900.0, "cv": 0.5}, "common_tokens": 256, "share": 0.7}
    made = _made(6000, arrivals={"rate_per_s": 5.0}, prefixes=groups)
    found = fit(made).figures
    assert found["hit_ratio_tokens"] == pytest.approx(found["held_out_hit_ratio_tokens"], abs=0.03)
    assert found["distances"]["prompt_tokens"]["ks"] < 0.05


@pytest.mark.parametrize("source", ["conversations", "quickstart"])
def test_the_yaml_runs(source: str, tmp_path: Path) -> None:
    out = tmp_path / "fitted.yaml"
    done = CliRunner().invoke(command, ["fit", source, "--out", str(out), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    trace, workload = open_trace(out)
    assert workload and "Fitted to the first half" in workload.about
    original, _ = open_trace(source)
    assert len(trace) == len(original)
    assert figures["distances"]["output_tokens"]["ks"] < 0.2
    report = kvsim.run(str(out), hw="h100", limit=20)
    assert report.figures["requests"]["completed"] == 20
    table = CliRunner().invoke(command, ["fit", source, "--out", str(out)], catch_exceptions=False).stdout
    assert "Wasserstein" in table and "Akaike" in table


def test_what_cannot_be_fitted(tmp_path: Path) -> None:
    few = Trace("few", np.arange(50.0), np.full(50, 5), np.full(50, 5))
    with pytest.raises(UserError, match="at least 100 requests, but there are 50"):
        fit(few)
    burst = Trace("burst", np.zeros(200), np.full(200, 5), np.full(200, 5))
    with pytest.raises(UserError, match="arrive at the same moment"):
        fit(burst)
    with pytest.raises(UserError, match=r"must end in \.yaml"):
        CliRunner().invoke(command, ["fit", "quickstart", "--out", str(tmp_path / "a.txt")], catch_exceptions=False)


@pytest.mark.skipif(not TRACES.is_dir(), reason=f"no real traces in {TRACES}: set KVSIM_SHARED")
def test_real_traces() -> None:
    """Lengths come as near to the held-out half as the fitted half is, and so do the hits, within 5 points."""
    azure = fit(read_trace(TRACES / "azure_llm_2023/AzureLLMInferenceTrace_code.csv")).figures
    mooncake = fit(read_trace(TRACES / "mooncake_fast25/conversation_trace.jsonl.gz")).figures
    for figures in (azure, mooncake):
        for column in ("prompt_tokens", "output_tokens"):
            mine, halves = figures["distances"][column]["ks"], figures["distances_of_halves"][column]["ks"]
            assert mine < halves + 0.02
    assert azure["process"] != "poisson"
    assert mooncake["ticks_spread_s"] == 3.0
    assert mooncake["hit_ratio_tokens"] == pytest.approx(mooncake["held_out_hit_ratio_tokens"], abs=0.05)
