"""One step's physics: the roofline by hand, limits of lanes, monotone figures. Whole runs carry no such claim."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvsim.find as find
from kvsim.cost import rates as shares
from kvsim.cost.op import Num
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.onestep import step
from kvsim.specs.devices import Drive, Expander
from kvsim.specs.hardware import Machine
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

POLICIES = find.paper_names("kv")
H100 = find.machine("h100+csd")


MACHINES = [find.machine("a6000+csd"), H100, find.machine("l40s+csd")]  # by datasheet rates, by fitted curves


def priced(text: str, machine: Machine, sequences: int, context: int, chunk: int, past: int) -> float:
    """Seconds of one step: decodes beside a chunk."""
    layout = Layout(policy(text), find.model("llama-3-8b"), 1, 16)
    pricer = Pricer(layout, Rates.of(machine, 1))
    features = pricer.chunk(chunk, past) if chunk else None
    return seconds(pricer.price(sequences, step_rows(pricer, context, sequences), features, 1 if chunk else 0))


def step_rows(pricer: Pricer, prompt: int, sequences: int) -> Any:
    """The ledger's rows of one step, as the engine hands them over: numbers, or columns where kinds are priced each."""
    rows = pricer.ledger_rows(prompt, 1) * sequences
    return rows[:, 0].tolist() if pricer.kinds == 1 else rows


def seconds(priced: tuple[Num, Num]) -> float:
    """Of one step."""
    return float(np.ravel(priced[0])[0])


def test_a_decode_step_is_the_roofline_computed_by_hand() -> None:
    """Llama-3-8B, batch 1, 8,192 tokens: each kernel's bytes over its bandwidth, and a launch each."""
    bandwidth, launch, layers, hidden = 768e9, shares.LAUNCH_S, 32, 4096
    weights = 2 * (4096 * 6144 + 4096 * 4096 + 3 * 4096 * 14336)
    inout = 2 * ((4096 + 6144) + (4096 + 4096) + (4096 + 28672) + (14336 + 4096))
    gemms = layers * (4 * launch + (weights + inout) / (0.85 * bandwidth))
    head = launch + 2 * (128256 * 4096 + 4096 + 128256) / (0.85 * bandwidth)
    passes = layers * (2 * launch + 4 * hidden * 2 / (0.8 * bandwidth))  # norms
    passes += layers * (launch + 3 * 14336 * 2 / (0.8 * bandwidth))  # activation
    passes += layers * (launch + 40 * 128 * 2 * 2 / (0.8 * bandwidth))  # rotary
    passes += layers * (launch + 8 * 256 * 4 / (0.8 * bandwidth))  # cache write
    passes += 2 * (launch + 2 * hidden * 2 / (0.8 * bandwidth)) + 4 * launch + 128256 * 16 / (0.8 * bandwidth)
    attention = layers * (launch + (8192 * 8 * 256 * 2 + 4 * 32 * 128) / (0.8 * bandwidth))
    found = step(hw="a6000", model="llama-3-8b", context=8192)
    assert found.seconds == pytest.approx(gemms + head + passes + attention, rel=1e-12)
    assert "HBM" in found.bound


@pytest.mark.parametrize("hw", ["h100+csd", "l40s+csd"])
@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
@pytest.mark.parametrize("text", POLICIES)
def test_the_engine_prices_what_step_shows(text: str, phase: str, hw: str) -> None:
    layout = Layout(policy(text), find.model("llama-3-8b"), 1, 16)
    pricer = Pricer(layout, Rates.of(find.machine(hw), 1))
    shown = float(step(hw=hw, model="llama-3-8b", policy=text, phase=phase, batch=3, context=4000, past=900).seconds)
    if phase == "prefill":
        chunk = [3 * figure for figure in pricer.chunk(4000, 0)]
        engine = pricer.price(0, (), chunk, 3, 3 * pricer.prompt_end(4000))
    else:
        features = pricer.chunk(512, 900) if phase == "mixed" else None
        engine = pricer.price(3, step_rows(pricer, 3999, 3), features, 1 if features else 0)
    assert seconds(engine) == pytest.approx(shown, rel=1e-9)


def faster(machine: Machine, part: str, factor: float) -> Machine:
    """`machine` with one figure times `factor`."""
    chip = machine.chip
    if part == "link":
        link = machine.host_link
        return replace(machine, host_link=link.model_copy(update={"bandwidth": link.bandwidth * factor}))
    if part == "hbm":
        memory = chip.memory.model_copy(update={"bandwidth": chip.memory.bandwidth * factor})
        return replace(machine, chip=chip.model_copy(update={"memory": memory}))
    peak = chip.peak.model_copy(update={part: getattr(chip.peak, part) * factor})
    return replace(machine, chip=chip.model_copy(update={"peak": peak}))


STEPS = {
    "text": st.sampled_from([*POLICIES, "snapkv+kivi:bits=4", "fp8+headinfer"]),
    "sequences": st.integers(1, 300),
    "context": st.integers(1, 200_000),
    "chunk": st.integers(0, 4096),
    "past": st.integers(0, 100_000),
}


@settings(max_examples=60, deadline=None)
@given(
    **STEPS,
    machine=st.sampled_from(MACHINES),
    part=st.sampled_from(["link", "hbm", "bf16", "fp32"]),
    factor=st.floats(1.0, 1e6),
)
def test_seconds_never_rise_with_a_bandwidth_or_a_peak(
    machine: Machine, part: str, factor: float, **shape: object
) -> None:
    before = priced(machine=machine, **shape)  # type: ignore[arg-type]
    after = priced(machine=faster(machine, part, factor), **shape)  # type: ignore[arg-type]
    assert after <= before * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(
    **STEPS,
    machine=st.sampled_from(MACHINES),
    more=st.sampled_from(["sequences", "chunk", "past"]),
    by=st.integers(1, 1000),
)
def test_seconds_never_fall_with_tokens(machine: Machine, more: str, by: int, **shape: object) -> None:
    before = priced(machine=machine, **shape)  # type: ignore[arg-type]
    after = priced(machine=machine, **(shape | {more: int(shape[more]) + by}))  # type: ignore[arg-type,call-overload]
    assert after >= before * (1 - 1e-12)


def test_a_chunk_makes_no_step_shorter_whose_decodes_are_launched_twice() -> None:
    """SubGen attends to its clusters and to its newest tokens: one launch of prompts stands for one of the two."""
    machine = find.machine("l40s")
    assert priced("subgen", machine, 1, 1, 1, 0) > priced("subgen", machine, 1, 1, 0, 0)


@settings(deadline=None)
@given(
    contexts=st.lists(st.integers(2, 200_000), min_size=2, max_size=2), text=st.sampled_from(["full", "fp8", "offload"])
)
def test_seconds_never_fall_with_bytes(contexts: list[int], text: str) -> None:
    short, long = sorted(contexts)
    assert priced(text, H100, 8, short, 0, 0) <= priced(text, H100, 8, long, 0, 0)


@settings(deadline=None)
@given(sequences=STEPS["sequences"], context=STEPS["context"], chunk=STEPS["chunk"], past=STEPS["past"])
def test_an_endless_tier_equals_hbm(sequences: int, context: int, chunk: int, past: int) -> None:
    endless, shape = endlessly("h100+nvme+cxl+rdma"), (sequences, context, chunk, past)
    for tier in ("dram", "flash", "cxl", "remote"):
        assert priced(f"offload:tier={tier}", endless, *shape) == priced("full", H100, *shape)


def endlessly(name: str) -> Machine:
    """A machine whose tiers have infinite bandwidth and no latency."""
    machine, inf = find.machine(name), float("inf")
    link = machine.host_link.model_copy(update={"bandwidth": inf, "latency": 0.0})
    memory = machine.host.memory.model_copy(update={"bandwidth": inf})
    devices = []
    for device in machine.devices:
        fast: dict[str, object] = {"read": inf, "write": inf, "latency": 0.0}
        if isinstance(device.device, Expander):
            fast = {"memory": memory, "latency": 0.0}
        if isinstance(device.device, Drive):
            fast = {"read": inf, "write": inf, "read_latency": 0.0, "write_latency": 0.0, "random_read": inf}
            fast |= {"random_write": inf}
        port = device.link.model_copy(update={"bandwidth": inf, "latency": 0.0})
        devices.append(replace(device, device=device.device.model_copy(update=fast), link=port))
    host = machine.host.model_copy(update={"memory": memory})
    return replace(machine, host_link=link, host=host, devices=tuple(devices), host_curves=None)


def test_headinfer_at_a_million_tokens_is_bound_by_the_host_link() -> None:
    found = step(hw="rtx4090", model="llama-3-8b", policy="headinfer", batch=1, context=1_000_000)
    assert found.bound.startswith("host link")
    link = find.machine("rtx4090").host_link
    carried = 131_072 * 1_000_000 / (0.85 * link.bandwidth) + 256 * link.latency
    assert found.lanes["h2d"] == pytest.approx(carried, rel=1e-12)
    assert carried <= float(found.seconds) <= carried * 1.01


@pytest.mark.parametrize("hw", ["h100", "a100-80"])
def test_arrays_give_bit_for_bit_what_single_steps_give(hw: str) -> None:
    contexts = np.arange(1000, 1064)
    many = step(hw=hw, model="llama-3-8b", policy="kivi", batch=np.full(64, 5), context=contexts).seconds
    each = [step(hw=hw, model="llama-3-8b", policy="kivi", batch=5, context=int(n)).seconds for n in contexts]
    assert np.asarray(many).tolist() == [float(seconds) for seconds in each]


def test_decodes_beside_a_chunk_are_priced_by_the_kernel_of_prompts() -> None:
    """FlashAttention-2 gives each query head of a decode a whole tile: on an RTX 4090 some twice as long as alone."""

    def attention_s(hw: str, policy: str = "full") -> tuple[float, float]:
        shape = {"hw": hw, "model": "llama-3-8b", "policy": policy, "batch": 64, "context": 1024}
        both = [step(phase=phase, **shape) for phase in ("decode", "mixed")]  # type: ignore[arg-type]
        names = [[op.name for op in one.ops] for one in both]
        alone, beside = (one.op_seconds[at.index("attention_decode")] for one, at in zip(both, names, strict=True))
        return float(alone), float(beside)

    alone, beside = attention_s("rtx4090")
    assert 1.5 * alone < beside < 2.5 * alone  # measured: 0.66 ms of 64 decodes beside 512 tokens, 0.33 ms alone
    for hw, text in (("h100", "full"), ("rtx4090", "kivi")):  # not measured; a kernel of its own
        alone, beside = attention_s(hw, text)
        assert alone == beside


@pytest.mark.parametrize("hw", ["l40s", "a100-80", "rtx4090"])
@pytest.mark.parametrize("model", ["llama-2-7b", "llama-3-8b"])
def test_a_chunk_makes_no_step_shorter(hw: str, model: str) -> None:
    """Decodes beside a chunk are priced by another kernel's coefficients, which alone would allow it."""
    for sequences, context in ((1, 2), (1, 16_000), (64, 2_000), (200, 100)):
        alone = step(hw=hw, model=model, phase="decode", batch=sequences, context=context).seconds
        beside = step(hw=hw, model=model, phase="mixed", batch=sequences, context=context, chunk=1, past=0).seconds
        assert beside >= alone
