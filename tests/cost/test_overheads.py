"""What a step costs beyond its Ops: each term on its own, and the same in `kvsim step` and in a run."""

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.dense import dense_ops
from kvsim.cost.geometry import cut
from kvsim.cost.op import GPU, PEER
from kvsim.cost.overheads import Overheads, launches, step_terms
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.errors import UserError
from kvsim.replay import serving_preset
from kvsim.traces.trace import Trace
from kvsim.traits.layout import Layout
from kvsim.traits.placement import SLOWED_BY_COPIES, overlapped, slowed
from kvsim.traits.policy import policy

SIZES = (1, 2, 4, 8)


def pricer(hw: str = "h100", **terms: object) -> Pricer:
    layout = Layout(policy("full"), find.model("llama-3-8b"), 1, 16)
    return Pricer(layout, Rates.of(find.machine(hw), 1), Overheads(**terms))  # type: ignore[arg-type]


def test_graphs_pad_and_spare_launches() -> None:
    one = Overheads(SIZES, "piecewise")
    assert [one.padded(n, False) for n in (1, 3, 8, 9)] == [1, 4, 8, 9]
    assert one.launched(8, False, 300, 32) == 0
    assert one.launched(8, True, 300, 32) == 96  # a layer's graph, its cache write, its attention
    assert one.launched(9, False, 300, 32) == 300
    none = Overheads(SIZES, "none")
    assert none.padded(3, True) == 3 and none.launched(3, True, 300, 32) == 300
    assert Overheads().padded(5, False) == 5


def test_a_layer_launches_the_kernels_that_a_preset_says() -> None:
    """A Llama's layer: 4 GEMMs and 5 small kernels; 2 more with attention and its cache write counted there."""
    geo = cut(find.model("llama-3-8b"), 1)
    fused = launches(dense_ops(geo, 1, 1), (GPU, PEER))
    assert fused == 32 * (4 + 4) + 3 + 4  # the cache write is an Op of the cache; embedding, last norm, head; sampling
    more = launches(dense_ops(geo, 1, 1, Overheads(layer_kernels=9)), (GPU, PEER))
    assert more == fused + 4 * 32
    fewer = launches(dense_ops(geo, 1, 1, Overheads(layer_kernels=4, sampling_kernels=1)), (GPU, PEER))
    assert fewer == fused - 32 - 3


def test_a_past_that_is_gathered_is_read_and_written_once() -> None:
    joined, paged = pricer("a6000", joins_past=True), pricer("a6000")  # no curve prices its passes
    took = [one.price(0, (), one.chunk(512, 8192), 1)[0] for one in (joined, paged)]
    rows = 8192 * 32 * 8 * 256 * 2  # bytes of the past: layers, kv heads, keys and values
    assert float(took[0]) - float(took[1]) == pytest.approx(2 * rows / (0.8 * 768e9))
    same = [one.price(0, (), one.chunk(512, 0), 1)[0] for one in (joined, paged)]
    assert same[0] == same[1]


def test_launches_are_a_floor_under_steps_without_graphs() -> None:
    eager, graphed = pricer(launch_s=50e-6), pricer(launch_s=50e-6, graph_sizes=(1, 2))
    rows = graphed.ledger_rows(100, 1)[:, 0].tolist()
    kernels = 32 * 10 + 7
    assert eager.launching.kernels(1, True, False) == kernels
    assert eager.price(1, rows, None, 0)[0] == pytest.approx(kernels * 50e-6)
    assert graphed.price(1, rows, None, 0)[0] < kernels * 50e-6
    long = eager.chunk(8192, 0)
    assert eager.price(0, (), long, 1)[0] > (kernels + 32) * 50e-6  # the GPU is slower than the host here
    spans = eager.price(1, graphed.ledger_rows(100, 3), None, 0)[0]
    assert np.allclose(np.asarray(spans), kernels * 50e-6)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_terms_add_up(asynchronous: bool) -> None:
    one = Overheads(schedule_step_s=4e-4, prepare_step_s=1e-3, gap_s=2e-4, launch_s=1e-5, asynchronous=asynchronous)
    terms = step_terms(one, 5e-3, 4.5e-3, launched=600, sequences=3)
    assert terms["launches"] == pytest.approx(1e-3) and terms["padding"] == pytest.approx(5e-4)
    assert sum(terms.values()) == pytest.approx(6e-3 + 2e-4 + (0 if asynchronous else 1.4e-3))


@pytest.mark.parametrize("serving", ["vllm", "executor", "sarathi", "orca"])
def test_a_run_takes_what_step_says(serving: str) -> None:
    """One request alone: its third decode step, as the clock has it and as `kvsim.step` adds it up."""
    preset = serving_preset(serving)
    trace = Trace("one", np.array([0.0]), np.array([1000]), np.array([3]))
    columns = kvsim.run(trace, hw="h100", model="llama-2-7b", serving=serving).simulation.columns
    took_s = columns.done_s[0] - columns.first_token_s[0]
    both = [
        kvsim.step(hw="h100", model="llama-2-7b", batch=1, context=n, serving=serving).engine_seconds
        for n in (1001, 1002)
    ]
    assert took_s == pytest.approx(sum(filter(None, both)), rel=1e-9)
    assert preset.overheads.host_s(1) == pytest.approx(preset.cpu_step_s + preset.cpu_seq_s)


def test_an_engines_terms_are_of_one_step() -> None:
    with pytest.raises(UserError, match="whole numbers, no arrays"):
        kvsim.step(hw="h100", model="llama-2-7b", batch=np.array([1, 2]), context=100, serving="vllm")
    with pytest.raises(UserError, match="unknown serving"):
        kvsim.step(hw="h100", model="llama-2-7b", serving="vlm")


def test_kernels_are_slowed_by_copies_and_copies_are_not() -> None:
    """A step that its copies bound is as long as they; one that its kernels bound is longer by 3.5 % of the copies."""
    bound_by_copies, bound_by_kernels = (
        overlapped(slowed(lanes), 1 << 40) for lanes in ([1.0, 4.0, 0.0], [4.0, 1.0, 0.5])
    )
    assert bound_by_copies == pytest.approx(4.0)
    assert bound_by_kernels == pytest.approx(4.0 + SLOWED_BY_COPIES * 1.0)
    arrays = overlapped(slowed([np.array([1.0, 4.0]), np.array([4.0, 1.0]), np.array([0.0, 0.5])]), 1 << 40)
    assert np.array_equal(np.asarray(arrays), [bound_by_copies, bound_by_kernels])
