"""Tiny scenarios, asserted as whole logs: what each step ran. Times are not in them, so they hold for any pricing."""

import numpy as np
import pytest

import kvsim.find as find
from kvsim.engine.replica import Replica, Span
from kvsim.engine.simulate import Simulation, simulate
from kvsim.replay import serving_preset
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy

Entry = tuple[int, list[tuple[int, int]], int]  # decodes, (request, chunk) of prefills, steps


def replayed(
    prompts: list[int], outputs: list[int], preset: str = "vllm", arrival: list[float] | None = None,
    blocks: Blocks | None = None, text: str = "full", **own: object,
) -> tuple[Simulation, list[Entry]]:  # fmt: skip
    log: list[Entry] = []

    def note(replica: Replica, span: Span) -> None:
        log.append((span.plan.decodes, [(seq.index, seq.chunk) for seq in span.plan.chunks], span.steps))

    times = np.array(arrival or [0.0] * len(prompts))
    trace = Trace("tiny", times, np.array(prompts), np.array(outputs), blocks)
    machine, model = find.machine("h100"), find.model("llama-3-8b")
    run = simulate(trace, machine, model, policy(text), serving_preset(preset, own), observers=(note,))
    return run, log


def test_a_long_prompt_is_read_in_chunks_and_decoded_in_one_span() -> None:
    _, log = replayed([1000], [6], max_num_batched_tokens=256)
    assert log == [(0, [(0, 256)], 3), (0, [(0, 232)], 1), (1, [], 5)]


def test_decodes_come_first_and_chunks_take_what_is_left() -> None:
    _, log = replayed([100, 600], [30, 2], preset="sarathi", max_num_batched_tokens=256)
    # The first request's whole prompt and the second's first chunk fill the budget; then one token goes to a decode.
    assert log[:4] == [(0, [(0, 100), (1, 156)], 1), (1, [(1, 255)], 1), (1, [(1, 189)], 1), (2, [], 1)]
    assert sum(entry[2] for entry in log if entry[0]) == 29


def test_an_asynchronous_plan_does_not_see_an_arrival_of_the_running_step() -> None:
    both = {}
    for wait in (True, False):
        # The second request arrives while the first one's first decode step runs.
        _, log = replayed([64, 64], [40, 2], arrival=[0.0, 0.02], asynchronous=wait, api_s=0.0)
        both[wait] = next(number for number, entry in enumerate(log) if (1, 64) in entry[1]), log
    steps_before = {wait: sum(e[2] for e in log[:at]) for wait, (at, log) in both.items()}
    assert steps_before[True] == steps_before[False] + 1


def test_the_last_running_is_preempted_and_returns_first() -> None:
    run, _ = replayed([160, 160, 160], [400, 400, 4], kv_blocks=46, prefix_caching=False)
    preempted = run.replicas[0].scheduler.preempted
    assert preempted and preempted[0] == 1  # the third ended before, the second is the last
    assert np.isfinite(run.columns.done_s).all()


def test_a_resumed_request_hits_its_own_blocks() -> None:
    own: dict[str, object] = {"kv_blocks": 46}
    kept, without = (replayed([160, 160], [400, 400], prefix_caching=on, **own)[0] for on in (True, False))
    assert kept.replicas[0].scheduler.preempted == without.replicas[0].scheduler.preempted
    assert kept.replicas[0].counters.tokens < without.replicas[0].counters.tokens  # less is computed anew


def test_a_hit_leaves_at_least_one_token_to_compute() -> None:
    blocks = Blocks(np.array([7, 8, 7, 8]), np.array([0, 2, 4]), 64)
    run, _ = replayed([128, 128], [2, 2], arrival=[0.0, 1.0], blocks=blocks)
    assert run.columns.hit_tokens.tolist() == [0, 112]  # (128 - 1) // 16 blocks of 16


def test_swapping_moves_the_cache_over_the_link_instead_of_computing_it() -> None:
    own: dict[str, object] = {"kv_blocks": 46, "prefix_caching": False}
    swap, again = (replayed([160, 160], [400, 400], preemption=how, **own)[0] for how in ("swap", "recompute"))
    counters = swap.replicas[0].counters
    assert counters.swapped_out_bytes == counters.swapped_in_bytes > 0
    assert counters.tokens < again.replicas[0].counters.tokens


def test_what_can_never_fit_is_rejected_with_the_reason() -> None:
    run, _ = replayed([160, 5000], [4, 4], kv_blocks=46)
    assert run.columns.rejected.tolist() == [False, True]
    assert any("exceeds" in reason for reason in run.rejections)
    run, _ = replayed([160, 500], [4, 4], max_model_len=300)
    assert list(run.rejections) == ["prompt and output exceed max_model_len=300"]


def test_orca_reads_prompts_whole_and_reserves_outputs() -> None:
    run, log = replayed([300, 300], [50, 50], preset="orca", kv_blocks=40)
    assert log[0][1] == [(0, 300)]  # 22 of 40 blocks are reserved: the second waits for the first to end
    assert not run.replicas[0].scheduler.preempted
    assert run.columns.scheduled_s[1] >= run.columns.done_s[0]


def test_a_static_batch_holds_until_its_longest_member_ends() -> None:
    run, log = replayed([100, 100, 100], [2, 30, 5], preset="static", max_num_seqs=2)
    assert log[0] == (0, [(0, 100), (1, 100)], 1)
    assert run.columns.done_s[0] < run.columns.done_s[1] <= run.columns.scheduled_s[2]
    assert sum(steps for decodes, _, steps in log if decodes == 2) == 29  # padded to the longest


@pytest.mark.parametrize("routing", ["round_robin", "least_tokens"])
def test_routers_spread_requests(routing: str) -> None:
    trace = Trace("t", np.zeros(4), np.array([1000, 10, 10, 10]), np.full(4, 20))
    machine, model = find.machine("h100"), find.model("llama-3-8b")
    run = simulate(trace, machine, model, policy("full"), serving_preset("vllm", {"routing": routing}), replicas=2)
    expected = [0, 1, 0, 1] if routing == "round_robin" else [0, 1, 1, 1]
    assert run.columns.replica.tolist() == expected
