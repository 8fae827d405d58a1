"""Tiers of the prefix cache below HBM: conservation, promotion after reading, and latencies that follow from links."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_exact import outcome, traces

import kvsim.find as find
from kvsim.engine import tiering
from kvsim.engine.check import checker
from kvsim.engine.roads import Road
from kvsim.engine.simulate import Simulation, simulate
from kvsim.engine.tierspec import tier_specs
from kvsim.errors import UserError
from kvsim.replay import run, serving_preset
from kvsim.report.timeline import Timeline
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy

TIERS = [
    "dram:bytes=40MB",
    "dram:bytes=40MB:writes=back",
    "dram:bytes=30MB:writes=selective+flash:bytes=200MB",
    "dram:bytes=20MB+flash:bytes=60MB:eviction=s3-fifo+remote",
    "dram:bytes=20MB:eviction=lfu:writes=back+flash:bytes=60MB:writes=back:layout=token_first",
    "flash:bytes=60MB:shared=true+remote:writes=selective",
    "cxl:bytes=90MB:eviction=arc",
]


def replayed(
    trace: Trace,
    own: dict[str, object],
    exact: bool = False,
    hw: str = "h100+nvme+cxl+rdma",
    preset: str = "vllm",
    **more: object,
) -> Simulation:
    return simulate(
        trace, find.machine(hw), find.model("llama-3-8b"), policy("full"), serving_preset(preset, own),
        exact=exact, observers=(checker,), **more,
    )  # type: ignore[arg-type]  # fmt: skip


@settings(max_examples=int(os.environ.get("KVSIM_EXAMPLES", "100")), deadline=None)
@given(
    trace=traces(),
    tiers=st.sampled_from(TIERS),
    room=st.sampled_from([70, 100, 200]),
    prefetch=st.sampled_from(["best_effort", "wait", "timeout"]),
    fetch=st.sampled_from(["always", "auto"]),
    prefixes=st.sampled_from(["hash", "radix"]),
    seqs=st.sampled_from([2, 256]),
    budget=st.sampled_from([256, 2048]),
    buffer=st.sampled_from([0, 20e6, 4e9]),
    replicas=st.sampled_from([1, 2]),
    preset=st.sampled_from(["vllm", "vllm", "orca", "sarathi", "static"]),
    preemption=st.sampled_from(["recompute", "swap"]),
)
def test_random_traces_with_tiers(
    trace: Trace, tiers: str, room: int, prefetch: str, fetch: str, prefixes: str, seqs: int, budget: int,
    buffer: float, replicas: int, preset: str, preemption: str,
) -> None:  # fmt: skip
    """Jumps equal steps, under the invariants; all requests are served, and nothing is left pinned."""
    own: dict[str, object] = {"tiers": tiers, "kv_blocks": room, "prefetch": prefetch, "fetch": fetch}
    own |= {"prefix_cache": prefixes, "max_num_seqs": seqs, "max_num_batched_tokens": budget}
    own |= {"prefetch_timeout_s": 1e-3, "write_buffer_bytes": buffer, "prefix_caching": True, "preemption": preemption}
    jumps, steps = (replayed(trace, own, exact, preset=preset, replicas=replicas) for exact in (False, True))
    assert outcome(jumps) == outcome(steps)
    done = ~jumps.columns.rejected
    assert np.isfinite(jumps.columns.done_s[done]).all()
    for replica, other in zip(jumps.replicas, steps.replicas, strict=True):
        below, memory = replica.scheduler.tiers, replica.scheduler.memory
        assert below and other.scheduler.tiers
        assert below.tallies == other.scheduler.tiers.tallies
        assert not replica.scheduler.fetching and not below.coming and not below.writes.buffered_bytes
        assert all(not level.copies.verify() and not level.copies.pinned for level in below.levels)
        memory.look(replica.scheduler.step)
        assert memory.used() == (0, 0)


def conversation(turns: int, tokens: int, gap_s: float, others: int = 0) -> Trace:
    """A prompt that comes again and again, `others` prompts of the same length that nobody shares between them."""
    each = 1 + others
    count = turns * each
    ids = [[1_000 * (0 if i % each == 0 else i) + j for j in range(tokens // 512)] for i in range(count)]
    start = np.arange(count + 1) * (tokens // 512)
    blocks = Blocks(np.array(ids).ravel(), start, 512)
    sizes = np.full(count, tokens)
    return Trace("again", np.arange(count) * gap_s, sizes, np.full(count, 4), blocks)


def at_infinite_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    road = tiering.Roads._road

    def free(self: tiering.Roads, *args: object) -> Road:
        made = road(self, *args)  # type: ignore[arg-type]
        return Road(tuple((link, 0.0) for link, _ in made.way), 0.0, made.lanes)

    monkeypatch.setattr(tiering.Roads, "_road", free)


@pytest.mark.parametrize("tiers", ["dram", "dram:bytes=1GB+flash", "dram:writes=back", "flash:writes=back+remote"])
def test_a_tier_of_infinite_bandwidth_without_latency_equals_hbm(tiers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool of HBM that keeps all prefixes, and one that loses them to such a tier: the same times, to the bit."""
    at_infinite_speed(monkeypatch)
    trace = conversation(6, 4096, 3.0, others=3)
    large = replayed(trace, {})
    small = replayed(trace, {"kv_blocks": 600, "tiers": tiers})
    lost = replayed(trace, {"kv_blocks": 600})
    for name in ("scheduled_s", "first_token_s", "done_s", "hit_tokens"):
        assert getattr(large.columns, name).tobytes() == getattr(small.columns, name).tobytes()
    assert small.columns.hit_tokens.sum() > lost.columns.hit_tokens.sum()


def test_a_hit_takes_as_long_as_its_transfer() -> None:
    """4,080 tokens over the host link alone: latency and bytes over 85 % of 63 GB/s, then the last tokens' step."""
    trace = conversation(2, 4096, 30.0, others=3)
    done = replayed(trace, {"kv_blocks": 600, "tiers": "dram"})
    below = done.replicas[0].scheduler.tiers
    assert below
    tally = below.tallies[0]
    assert (tally.loads, tally.hits) == (1, 4096 // 16 - 1)
    assert tally.stalled_s == pytest.approx(10e-6 + tally.hits * 16 * 131072 / (0.85 * 63e9), rel=1e-9)
    first, again = (float(done.columns.first_token_s[i] - done.columns.arrival_s[i]) for i in (0, 4))
    assert tally.stalled_s < again < first / 3


def test_two_replicas_on_one_drive_get_half_each() -> None:
    """Both fetch at once from their host's flash, 6.5 GB/s: each takes twice as long as one alone."""

    def stalled_s(hw: str) -> float:
        trace = conversation(2, 4096, 60.0, others=3)
        twice = Trace(
            "both", np.repeat(trace.arrival_s, 2), np.repeat(trace.prompt_tokens, 2), np.repeat(trace.output_tokens, 2),
            Blocks(np.repeat(trace.blocks.ids.reshape(8, -1), 2, axis=0).ravel(), np.arange(17) * 8, 512),
        )  # type: ignore[union-attr]  # fmt: skip
        own = {"kv_blocks": 600, "tiers": "flash", "api_s": 0.0}
        found = replayed(twice, own, hw=hw, tp=1, replicas=2)
        tallies = [replica.scheduler.tiers.tallies[0] for replica in found.replicas if replica.scheduler.tiers]
        assert [tally.loads for tally in tallies] == [1, 1]
        assert tallies[0].stalled_s == tallies[1].stalled_s
        return tallies[0].stalled_s

    moved_s = 255 * 16 * 131072 / 6.5e9
    assert stalled_s("h100+nvme") == pytest.approx(moved_s, rel=0.01)
    assert stalled_s("h100x2+nvme") == pytest.approx(2 * moved_s, rel=0.01)


def test_a_tier_may_serve_one_transfer_after_the_other() -> None:
    """Four requests fetch at once from one host's flash: together they take as long, but the first ones less."""
    many = 4
    base = conversation(2, 4096, 60.0, others=3)
    assert base.blocks
    ids = np.repeat(base.blocks.ids.reshape(8, -1), many, axis=0).ravel()
    blocks = Blocks(ids, np.arange(8 * many + 1) * 8, 512)
    figures = (np.repeat(column, many) for column in (base.arrival_s, base.prompt_tokens, base.output_tokens))
    trace = Trace("together", *figures, blocks)
    late: dict[int, list[float]] = {}
    for depth in (0, 1):
        own = {"kv_blocks": 600, "tiers": f"flash:depth={depth}"}
        found = replayed(trace, own, hw="h100x4+nvme", tp=1, replicas=many)
        took = (found.columns.first_token_s - found.columns.arrival_s)[4 * many : 5 * many]
        late[depth] = sorted(took.tolist())
    assert late[1][-1] == pytest.approx(late[0][-1], rel=0.05)
    assert late[1][0] < 0.5 * late[0][0] and sum(late[1]) < 0.75 * sum(late[0])


def test_a_slow_tier_is_worse_than_computing_and_the_report_says_so() -> None:
    trace = conversation(4, 4096, 10.0, others=3)
    own = {"kv_blocks": 600, "tiers": "remote"}
    always, auto = (
        run(trace, hw="h100+tcp", model="llama-3-8b", serving="vllm", settings={**own, "fetch": fetch}).figures
        for fetch in ("always", "auto")
    )
    remote = always["tiers"]["remote"]
    assert remote["slower_loads"] == remote["loads"] == 3 and remote["load_s"] > remote["recompute_s"]
    assert remote["worth_from_tokens"] is None or remote["worth_from_tokens"] > 4096
    assert auto["tiers"]["remote"]["recomputed"] == 3 and not auto["tiers"]["remote"]["loads"]
    assert auto["ttft_s"]["mean"] < always["ttft_s"]["mean"]


def test_prefetches() -> None:
    """Blocks in flash behind DRAM: waiting takes them all, best effort none, a timeout so many as came."""
    trace = conversation(2, 8192, 60.0, others=3)
    own = {"kv_blocks": 1200, "tiers": "dram:bytes=1.2GB+flash"}
    took = {}
    for prefetch in ("wait", "best_effort", "timeout"):
        found = replayed(trace, {**own, "prefetch": prefetch, "prefetch_timeout_s": 0.05})
        below = found.replicas[0].scheduler.tiers
        assert below
        took[prefetch] = (int(found.columns.hit_tokens[4]), below.tallies[1].hits * 16)
    assert took["wait"] == (8176, 8176)
    assert took["best_effort"] == (0, 0)
    hit, _ = took["timeout"]
    assert 0 < hit < 8176 and hit == pytest.approx(0.05 * 6.5e9 / 131072, rel=0.02, abs=16)


def test_a_timeline_shows_transfers(tmp_path: Path) -> None:
    """The load of 255 blocks over the host link alone, from when its request left the queue."""
    timeline = Timeline()
    trace = conversation(2, 4096, 30.0, others=3)
    run(
        trace, hw="h100+nvme", model="llama-3-8b", serving="vllm", settings={"kv_blocks": 600, "tiers": "dram+flash"},
        observers=(timeline,),
    )  # fmt: skip
    timeline.write(tmp_path / "timeline.json")
    events = json.loads((tmp_path / "timeline.json").read_text())["traceEvents"]
    begun = [event for event in events if event["ph"] == "b"]
    assert {event["name"] for event in begun} == {"hbm to dram", "dram to flash", "dram to hbm"}
    load = next(event for event in begun if event["name"] == "dram to hbm")
    end = next(event for event in events if event["ph"] == "e" and event["id"] == load["id"])
    assert load["args"]["bytes"] == 255 * 16 * 131072
    assert (end["ts"] - load["ts"]) / 1e6 == pytest.approx(10e-6 + 255 * 16 * 131072 / (0.85 * 63e9), rel=1e-6)


def test_writes_and_wear_are_reported() -> None:
    trace = conversation(3, 4096, 10.0, others=3)
    own = {"kv_blocks": 600, "tiers": "dram+flash"}
    figures = run(trace, hw="h100+nvme", model="llama-3-8b", serving="vllm", settings=own).figures
    dram, flash = figures["tiers"]["dram"], figures["tiers"]["flash"]
    assert dram["written_bytes"] == flash["written_bytes"] == 10 * 4096 * 131072
    assert figures["bytes_moved"]["nvme_write"] == flash["written_bytes"]
    rate = flash["written_bytes"] / figures["duration_s"]
    assert flash["drive_writes_per_day"] == pytest.approx(rate * 86400 / 7.68e12)
    assert flash["years_to_wear_out"] == pytest.approx(18220e12 / rate / (365.25 * 86400))
    assert figures["hit_tokens"] == {"hbm": 0, "dram": 2 * 4080, "flash": 0}
    assert figures["prefix_hit_ratio"] == pytest.approx(2 * 4080 / (12 * 4096))
    assert 0 < figures["busy"]["nvme_write"] < 1


@pytest.mark.parametrize(
    ("own", "hw", "policy_name", "says"),
    [
        ({"tiers": "hbm+dram"}, "h100", "full", "names tiers below hbm"),
        ({"tiers": "dram+dram"}, "h100", "full", "dram is named twice"),
        ({"tiers": "flash"}, "h100", "full", "unknown tier 'flash'; there are: "),
        ({"tiers": "dram:size=1GB"}, "h100", "full", "unknown parameter 'size'"),
        ({"tiers": "dram:bytes=1 parsec"}, "h100", "full", "bytes"),
        ({"tiers": "dram:bytes=0"}, "h100", "full", "bytes must be more than 0"),
        ({"tiers": "dram:bytes=1MB"}, "h100", "full", "has no room for a block"),
        ({"tiers": "dram:writes=never"}, "h100", "full", "writes must be one of through, back, selective"),
        ({"tiers": "dram:eviction=belady"}, "h100", "full", "must know the future"),
        ({"tiers": "dram:eviction=session-aware"}, "h100", "full", "needs sessions"),
        ({"tiers": "dram", "prefix_caching": "false"}, "h100", "full", "tiers need prefix_caching=true"),
        ({"tiers": "dram"}, "h100", "headinfer", "this policy's cache rests in dram"),
        ({"preemption": "swap", "swap_tier": "flash"}, "h100", "full", "unknown tier 'flash'"),
        ({"preemption": "swap", "swap_tier": "hbm"}, "h100", "full", "name a tier below it"),
        ({"preemption": "swap", "tiers": "dram"}, "h100", "full", "the prefix cache takes all of it"),
    ],
)
def test_what_is_refused(own: dict[str, str], hw: str, policy_name: str, says: str) -> None:
    trace = conversation(2, 1024, 1.0)
    with pytest.raises(UserError, match=r".") as error:
        run(trace, hw=hw, model="llama-3-8b", policy=policy_name, serving="vllm", settings=own)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_sequences_swap_to_any_tier() -> None:
    """What is slower than host DRAM takes longer, by the bytes over the drive's bandwidth."""
    rng = np.random.default_rng(4)
    trace = Trace("pressure", np.sort(rng.uniform(0, 1, 30)), rng.integers(300, 900, 30), rng.integers(100, 300, 30))
    own = {"kv_blocks": 150, "preemption": "swap", "prefix_caching": "false"}
    dram, flash = (replayed(trace, {**own, "swap_tier": tier}, hw="h100+nvme") for tier in ("dram", "flash"))
    counters = [found.replicas[0].counters for found in (dram, flash)]
    assert all(each.swapped_in_bytes > 0 for each in counters)
    assert counters[1].end_s > counters[0].end_s
    pricer = flash.replicas[0].pricer
    assert pricer.swap_s(1 << 30, 0) == pytest.approx(2**30 / 6.5e9, rel=0.01)
    assert pricer.swap_s(0, 1 << 30) == pytest.approx(2**30 / 3.5e9, rel=0.01)


def test_specs_read() -> None:
    assert tier_specs("") == ()
    dram, flash = tier_specs("dram:bytes=64GB+flash:writes=back:eviction=lfu")
    assert (dram.most_bytes, dram.writes) == (64e9, "through")
    assert (flash.name, flash.writes, flash.eviction) == ("flash", "back", "lfu")
    assert dataclasses.replace(dram, bytes="").most_bytes == np.inf
