"""Macro-steps equal single steps: the same schedule, the same times to the last bit, the same counters."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvsim.find as find
from kvsim.engine.check import checker
from kvsim.engine.simulate import Simulation, simulate
from kvsim.replay import serving_preset
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy

SHARED = Path(os.environ.get("KVSIM_SHARED", Path(__file__).parents[2].parent / "shared"))
POLICIES = find.paper_names("kv")
PRESETS = find.paper_names("serving")


def outcome(run: Simulation) -> dict[str, object]:
    """Everything that could differ."""
    found: dict[str, object] = {name: value.tobytes() for name, value in vars(run.columns).items()}
    for number, replica in enumerate(run.replicas):
        counters = dict(vars(replica.counters))
        del counters["events"]  # what macro-steps save
        found[f"replica {number}"] = counters
        found[f"preempted {number}"] = replica.scheduler.preempted
    return found


def both(
    trace: Trace, text: str, preset: str, own: dict[str, object], replicas: int = 1, model: str = "llama-3-8b"
) -> None:
    """Replay by spans and token by token, under the invariants."""
    runs = [
        simulate(
            trace, find.machine("h100+csd"), find.model(model), policy(text), serving_preset(preset, own),
            exact=exact, replicas=replicas, observers=(checker,),
        )
        for exact in (False, True)
    ]  # fmt: skip
    assert outcome(runs[0]) == outcome(runs[1])
    columns = runs[0].columns
    done = ~columns.rejected
    assert np.isfinite(columns.done_s[done]).all()
    assert (columns.arrival_s <= columns.scheduled_s)[done].all()
    assert (columns.scheduled_s < columns.first_token_s)[done].all()
    assert (columns.first_token_s <= columns.done_s)[done].all()
    for replica in runs[0].replicas:  # nothing is left behind
        memory = replica.scheduler.memory
        memory.look(replica.scheduler.step)
        assert memory.used() == (0, 0)
        assert not replica.scheduler.waiting and not replica.outstanding_tokens


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Small traces: ties, bursts and gaps; prompts that share prefixes of hashed blocks."""
    count = draw(st.integers(1, 25))
    gaps = draw(st.lists(st.sampled_from([0.0, 0.001, 0.0137, 0.1, 0.7, 5.0]), min_size=count, max_size=count))
    prompts = draw(st.lists(st.integers(1, 900), min_size=count, max_size=count))
    outputs = draw(st.lists(st.integers(1, 120), min_size=count, max_size=count))
    blocks = None
    if draw(st.booleans()):
        families = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
        shared = draw(st.lists(st.integers(0, 6), min_size=count, max_size=count))
        ids: list[int] = []
        start = [0]
        for i, (tokens, family, common) in enumerate(zip(prompts, families, shared, strict=True)):
            needed = -(-tokens // 64)
            ids += [family * 100 + j if j < common else 1000 * (i + 1) + j for j in range(needed)]
            start.append(len(ids))
        blocks = Blocks(np.array(ids), np.array(start), 64)
    return Trace("drawn", np.cumsum(gaps) - gaps[0], np.array(prompts), np.array(outputs), blocks)


@settings(max_examples=int(os.environ.get("KVSIM_EXAMPLES", "150")), deadline=None)
@given(
    trace=traces(),
    text=st.sampled_from([*POLICIES, "snapkv:capacity=200+kivi:bits=4", "streaming:window=100", "fp8+headinfer"]),
    preset=st.sampled_from(PRESETS),
    room=st.sampled_from([0, 70, 100, 200]),
    seqs=st.sampled_from([1, 3, 8, 256]),
    budget=st.sampled_from([256, 300, 2048]),
    preemption=st.sampled_from(["recompute", "swap"]),
    admission=st.sampled_from(["", "reserve_prompt"]),
    replicas=st.sampled_from([1, 1, 3]),
    routing=st.sampled_from(["round_robin", "least_tokens"]),
)
def test_random_traces(
    trace: Trace, text: str, preset: str, room: int, seqs: int, budget: int, preemption: str, admission: str,
    replicas: int, routing: str,
) -> None:  # fmt: skip
    own = {"kv_blocks": room, "max_num_seqs": seqs, "max_num_batched_tokens": budget, "preemption": preemption}
    own["routing"] = routing
    if admission and preset != "static":
        own["admission"] = admission
    both(trace, text, preset, own, replicas=replicas)


@pytest.mark.parametrize("text", ["pyramidinfer", "pyramidkv", "full"])
def test_a_prompt_in_several_equal_chunks(text: str) -> None:
    """Chunks of one size on ever more past are one span, whatever the layers keep of it."""
    trace = Trace("chunks", np.zeros(2), np.array([1, 1100]), np.array([1, 3]))
    both(trace, text, "vllm", {"max_num_seqs": 1, "max_num_batched_tokens": 256})


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("text", POLICIES)
def test_every_policy_and_preset_under_pressure(text: str, preset: str) -> None:
    rng = np.random.default_rng(7)
    arrival = np.sort(rng.uniform(0, 3, 60))
    trace = Trace("pressure", arrival - arrival[0], rng.integers(50, 900, 60), rng.integers(1, 200, 60))
    both(trace, text, preset, {"kv_blocks": 250})


SLICES = {
    "azure_llm_2023/AzureLLMInferenceTrace_code.csv": 300,
    "mooncake_fast25/conversation_trace.jsonl.gz": 120,
    "llmservingsim/workload_me2_01_mixed.jsonl": 60,
    "burstgpt/BurstGPT_1.head30.csv": 30,
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="KVSIM_SHARED holds no shared traces")
@pytest.mark.parametrize("name", SLICES)
@pytest.mark.parametrize("text", ["full", "kivi", "snapkv", "headinfer"])
def test_slices_of_real_traces(name: str, text: str) -> None:
    both(read_trace(SHARED / "traces" / name, limit=SLICES[name]), text, "vllm", {"kv_blocks": 9000})


@pytest.mark.parametrize("text", ["full", "kivi", "streaming:window=300+kivi", "h2o", "headinfer"])
def test_models_whose_layers_differ(text: str) -> None:
    """Half of Gemma-2's layers slide: with 2-bit rows its two kinds are priced each."""
    rng = np.random.default_rng(3)
    arrival = np.sort(rng.uniform(0, 2, 30))
    trace = Trace("two kinds", arrival - arrival[0], rng.integers(50, 9000, 30), rng.integers(1, 100, 30))
    both(trace, text, "vllm", {"kv_blocks": 900}, model="gemma-2-9b")
