"""Generators: their statistics, their determinism, and the shipped workloads."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim import find
from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.generate import generate
from kvsim.traces.open import files, open_trace
from kvsim.traces.read import read_trace
from kvsim.traces.stats import stats
from kvsim.traces.trace import Trace
from kvsim.traces.workload import Generate
from kvsim.traces.write import write_trace

quick = settings(max_examples=40, deadline=None, database=None)
POISSON = {"process": "poisson", "rate_per_s": 3.0}
FIXED = {"tokens": 7}


def _make(seed: int = 0, **spec: object) -> Trace:
    return generate(build(Generate, spec, "test"), seed)


def _bytes(trace: Trace) -> bytes:
    columns = [trace.arrival_s, trace.prompt_tokens, trace.output_tokens]
    if trace.blocks:
        columns += [trace.blocks.ids, trace.blocks.start]
    return b"".join(column.tobytes() for column in columns)


@pytest.mark.parametrize(
    ("arrivals", "cv"),
    [
        (POISSON, 1.0),
        ({"process": "gamma", "rate_per_s": 3.0, "cv": 0.5}, 0.5),
        ({"process": "gamma", "rate_per_s": 3.0, "cv": 2.0}, 2.0),
        ({"process": "constant", "rate_per_s": 3.0}, 0.0),
    ],
)
def test_gaps_have_the_mean_and_cv_asked_for(arrivals: dict[str, object], cv: float) -> None:
    count = 200_000
    gaps = np.diff(_make(requests=count + 1, arrivals=arrivals, prompt=FIXED, output=FIXED).arrival_s)
    assert gaps.mean() == pytest.approx(1 / 3, abs=5 * cv / 3 / math.sqrt(count) + 1e-9)  # five standard errors
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03, abs=1e-6)


@pytest.mark.parametrize("spread", [{"cv": 1.2}, {"sigma": 0.944}, {"cv": 0.0}])
def test_lognormal_lengths(spread: dict[str, float]) -> None:
    sigma = spread.get("sigma", math.sqrt(math.log1p(spread.get("cv", 0.0) ** 2)))
    trace = _make(
        requests=200_000, arrivals=POISSON, prompt={"mean": 1135.0, **spread}, output={"mean": 212.0, "cv": 1.0}
    )
    prompt = trace.prompt_tokens
    cv = math.sqrt(math.expm1(sigma**2))
    assert prompt.mean() == pytest.approx(1135, rel=6 * cv / math.sqrt(len(prompt)) + 1e-9)
    assert np.median(prompt) == pytest.approx(1135 * math.exp(-(sigma**2) / 2), rel=0.01)
    assert prompt.std() / prompt.mean() == pytest.approx(cv, rel=0.05, abs=1e-9)
    assert abs(np.corrcoef(prompt + np.arange(len(prompt)) % 2, trace.output_tokens)[0, 1]) < 0.02


@given(st.floats(1e-3, 2.0**30), st.floats(0, 100), st.integers(1, 2**30), st.integers(0, 2**63 - 1))
@quick
def test_lengths_stay_in_bounds(mean: float, cv: float, most: int, seed: int) -> None:
    trace = _make(seed, requests=50, arrivals=POISSON, prompt={"mean": mean, "cv": cv, "max": most}, output=FIXED)
    assert trace.prompt_tokens.min() >= 1
    assert trace.prompt_tokens.max() <= most
    assert (trace.output_tokens == 7).all()


@given(st.integers(1, 2**30))
@quick
def test_fixed_lengths_are_exact(tokens: int) -> None:
    trace = _make(requests=3, arrivals=POISSON, prompt={"tokens": tokens}, output=FIXED)
    assert trace.prompt_tokens.tolist() == [tokens] * 3


@given(st.floats(1e-9, 1e6), st.floats(1e-3, 100), st.integers(1, 300))
@quick
def test_arrivals_rise_from_zero(rate: float, cv: float, count: int) -> None:
    arrivals = {"process": "gamma", "rate_per_s": rate, "cv": cv}
    arrival_s = _make(requests=count, arrivals=arrivals, prompt=FIXED, output=FIXED).arrival_s
    assert len(arrival_s) == count
    assert arrival_s[0] == 0
    assert np.isfinite(arrival_s).all()
    assert (np.diff(arrival_s) >= 0).all()


CHATS = {
    "chats_per_s": 1.0,
    "system_tokens": 700,
    "block_tokens": 64,
    "message": {"mean": 300.0, "cv": 1.0},
    "answer": {"mean": 200.0, "cv": 1.0},
    "max_prompt_tokens": 6000,
}
MIX = [
    {"weight": 3.0, "prompt": {"tokens": 10}, "output": {"tokens": 1}},
    {"weight": 1.0, "prompt": {"tokens": 20}, "output": {"tokens": 2}},
]
SPECS = [
    {"arrivals": POISSON, "prompt": {"mean": 100.0, "cv": 1.0}, "output": {"mean": 10.0, "sigma": 1.0}},
    {"arrivals": {"process": "gamma", "rate_per_s": 1.0, "cv": 3.0}, "mix": MIX},
    {"conversations": CHATS},
]


@pytest.mark.parametrize("spec", SPECS)
def test_same_seed_same_bytes_and_a_shorter_run_is_a_prefix(spec: dict[str, object]) -> None:
    whole = _make(5, requests=400, **spec)
    assert len(whole) == 400
    assert _bytes(whole) == _bytes(_make(5, requests=400, **spec))
    assert _bytes(whole) != _bytes(_make(6, requests=400, **spec))
    assert _bytes(whole.head(150)) == _bytes(_make(5, requests=150, **spec))


def test_mix_keeps_prompts_with_their_outputs() -> None:
    trace = _make(requests=40_000, arrivals=POISSON, mix=MIX)
    assert ((trace.prompt_tokens == 20) == (trace.output_tokens == 2)).all()
    assert (trace.output_tokens == 2).mean() == pytest.approx(0.25, abs=0.01)


def test_empirical_lengths_keep_pairs_and_trace_arrivals_keep_moments(tmp_path: Path) -> None:
    rows = [(0.0, 10, 1), (1.5, 20, 2), (1.75, 30, 3), (4.0, 40, 4)]
    text = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{a},{p},{o}\n" for a, p, o in rows)
    (tmp_path / "small.csv").write_text(text)
    spec = {"requests": 3, "arrivals": {"process": "trace", "trace": "small.csv"}, "lengths_from": "small.csv"}
    trace = generate(build(Generate, spec, "test"), 1, folder=tmp_path)
    assert trace.arrival_s.tolist() == [0.0, 1.5, 1.75]
    many = _make(requests=2000, arrivals=POISSON, lengths_from=str(tmp_path / "small.csv"))
    assert (many.prompt_tokens == 10 * many.output_tokens).all()
    assert set(many.output_tokens.tolist()) == {1, 2, 3, 4}
    with pytest.raises(UserError, match="has 4 arrivals, but `requests` asks for 5"):
        generate(build(Generate, {**spec, "requests": 5}, "test"), 1, folder=tmp_path)


def test_conversations_share_what_was_said() -> None:
    """Ids are equal exactly where prompts are: in the system prompt's blocks, and in full blocks of one chat."""
    trace = _make(3, requests=500, conversations={**CHATS, "system_prompts": 1})
    assert trace.blocks
    assert trace.prompt_tokens.min() > 700
    assert trace.prompt_tokens.max() <= 6000
    rows = [
        trace.blocks.ids[a:b].tolist() for a, b in zip(trace.blocks.start[:-1], trace.blocks.start[1:], strict=True)
    ]
    assert [len(row) for row in rows] == (-(-trace.prompt_tokens // 64)).tolist()
    assert all(row[:10] == rows[0][:10] for row in rows)  # 700 // 64 blocks hold nothing but the system prompt
    assert rows[0] == list(range(len(rows[0])))
    place: dict[int, tuple[int, ...]] = {}
    for row in rows:  # an id is always behind the same ids: it stands for a whole prefix
        for at, block in enumerate(row):
            assert place.setdefault(block, tuple(row[:at])) == tuple(row[:at])
    figures = stats(trace)
    assert figures["hit_ratio_tokens"] > 0.4


def test_one_million_requests() -> None:
    trace = _make(
        requests=1_000_000, arrivals=POISSON, prompt={"mean": 1135.0, "cv": 1.0}, output={"mean": 212.0, "cv": 1.0}
    )
    assert len(trace) == 1_000_000


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"prompt": FIXED, "output": FIXED}, "arrivals is missing"),
        ({"arrivals": POISSON}, "needs one of prompt and output, mix"),
        ({"arrivals": POISSON, "prompt": FIXED}, "output is missing"),
        ({"arrivals": POISSON, "prompt": FIXED, "output": FIXED, "mix": MIX}, "but got mix and prompt and output"),
        ({"arrivals": POISSON, "conversations": CHATS}, "conversations take no arrivals"),
        ({"arrivals": {**POISSON, "rate": 3}}, "unknown key 'rate': did you mean"),
        ({"arrivals": {"process": "poisson", "rate_per_s": -3.0}}, "rate_per_s"),
        ({"arrivals": {"process": "poisson", "rate_per_s": math.nan}}, "finite"),
        ({"arrivals": {"process": "poisson", "rate_per_s": "3"}}, "rate_per_s"),
        ({"arrivals": {"process": "poisson"}}, "process poisson needs rate_per_s"),
        ({"arrivals": {**POISSON, "cv": 2.0}}, "process poisson takes no cv"),
        ({"arrivals": {"process": "gamma", "rate_per_s": 1.0, "cv": -1.0}}, "cv"),
        ({"arrivals": {"process": "gama"}}, "poisson"),
        ({"arrivals": POISSON, "prompt": {"mean": 1.0, "cv": -1.0}, "output": FIXED}, "cv"),
        ({"arrivals": POISSON, "prompt": {"mean": 1.0}, "output": FIXED}, "needs either cv or sigma"),
        ({"arrivals": POISSON, "prompt": {"tokens": 1, "cv": 1.0}, "output": FIXED}, "takes no cv or sigma"),
        ({"arrivals": POISSON, "prompt": {}, "output": FIXED}, "needs either tokens"),
        ({"arrivals": POISSON, "prompt": {"tokens": 0}, "output": FIXED}, "tokens"),
        ({"arrivals": POISSON, "mix": []}, "mix"),
        ({"conversations": {**CHATS, "system_tokens": 6000}}, "less than max_prompt_tokens"),
    ],
)
def test_bad_specs(spec: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(Generate, {"requests": 10, **spec}, "test")


@pytest.mark.parametrize("name", find.names("workloads"))
def test_shipped_workloads(name: str) -> None:
    trace, workload = open_trace(name)
    assert workload
    assert workload.about
    assert workload.model
    assert workload.hw
    assert workload.policy
    assert len(trace) > 0
    assert all(path.is_file() for path in files(name))
    assert _bytes(open_trace(name, limit=10)[0]) == _bytes(trace.head(10))


def test_poisson_benchmark_has_its_means() -> None:
    trace, workload = open_trace("poisson-1135-212")
    assert workload
    assert workload.set == {"max_num_batched_tokens": 512}
    assert len(trace) == 5000
    assert len(trace) / trace.arrival_s[-1] == pytest.approx(3, rel=0.05)
    assert trace.prompt_tokens.mean() == pytest.approx(1135, rel=0.03)
    assert trace.output_tokens.mean() == pytest.approx(212, rel=0.03)


def test_shipped_trace_is_what_its_yaml_makes(tmp_path: Path) -> None:
    folder = find.ROOT / "workloads/traces"
    made, _ = open_trace(folder / "conversations-make.yaml")
    write_trace(made, tmp_path / "made.jsonl.gz", "mooncake")
    shipped = folder / "conversations.jsonl.gz"
    assert read_trace(tmp_path / "made.jsonl.gz").blocks
    assert _bytes(read_trace(tmp_path / "made.jsonl.gz")) == _bytes(read_trace(shipped))
    assert shipped.stat().st_size < 100_000


def test_workload_yaml_names_a_trace_beside_it(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("t,in,out\n1000,5,6\n3500,7,8\n")
    (tmp_path / "mine.yaml").write_text(
        "trace: log.csv\nmap: {arrival: t, input: in, output: out}\ntime_unit: ms\n"
        "model: m\nset: {a: 1, b: 2.5, c: x, d: true}\n"
    )
    trace, workload = open_trace(tmp_path / "mine.yaml")
    assert trace.arrival_s.tolist() == [0.0, 2.5]
    assert workload
    assert list(workload.set.values()) == [1, 2.5, "x", True]
    assert files(tmp_path / "mine.yaml") == [tmp_path / "mine.yaml", tmp_path / "log.csv"]
    assert len(open_trace(tmp_path / "mine.yaml", limit=1)[0]) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trace: a.csv\ngenerate: {requests: 1}\n", "needs"),
        ("model: m\n", "needs either trace or generate"),
        ("trace: nosuch.csv\n", "nosuch.csv: No such file"),
        ("trace: mine.yaml\n", "must be a trace file, but got the YAML"),
        ("trace: a.csv\nmodle: m\n", "unknown key 'modle': did you mean model"),
        ("trace: a.csv\nreplicas: 0\n", "replicas"),
        ("trace: a.csv\nreplicas: 1e3\n", "YAML reads 1e3? as text|write 1"),
        ("trace: a.csv\nseed: -1\n", "seed"),
        ("trace: a.csv\nlimit: 0\n", "limit"),
        ("trace: a.csv\ntrace: b.csv\n", "given twice"),
        ("trace: a.csv\nset: {a: .nan}\n", "set"),
        ("trace: a.csv\nset: {a: [1]}\n", "set"),
        ("trace: [\n", "mine.yaml:"),
        ("", "mine.yaml"),
    ],
)
def test_bad_workloads(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        open_trace(tmp_path / "mine.yaml")
    assert "\n" not in str(caught.value)


def test_names_that_are_none() -> None:
    with pytest.raises(UserError, match="did you mean quickstart"):
        open_trace("quickstrat")
    for text in ("", "a.csv", "./nosuch", "nosuch.yaml", "/", "a\0b"):
        with pytest.raises(UserError):
            open_trace(text)
    with pytest.raises(UserError, match="dither is for trace files"):
        open_trace("quickstart", dither="uniform")
    with pytest.raises(UserError, match="limit must be"):
        open_trace("quickstart", limit=0)
    with pytest.raises(UserError, match="seed must be"):
        open_trace("quickstart", seed=-1)
