"""What observers of a run keep: lanes and batch add up to the counters, and lives add up to latencies."""

from typing import Any

import numpy as np
import pytest

import kvsim
from kvsim.report.away import Away
from kvsim.report.record import Record
from kvsim.report.slow import PARTS, by_rank, life, slowest

TIGHT: dict[str, Any] = {"policy": "full", "limit": 80, "settings": {"kv_blocks": 400}}
SWAP: dict[str, Any] = TIGHT | {"settings": {"kv_blocks": 400, "preemption": "swap"}}


def _run(**options: Any) -> tuple[kvsim.Report, Record]:
    record = Record()
    return kvsim.run("quickstart", observers=(record,), **options), record


@pytest.mark.parametrize("options", [TIGHT, SWAP, {"policy": "headinfer", "limit": 80, "replicas": 2}])
def test_slices_add_up_to_the_counters(options: dict[str, Any]) -> None:
    report, record = _run(**options)
    replicas, columns = report.simulation.replicas, report.simulation.columns
    for replica in replicas:
        track = record.tracks[replica.number]
        assert sum(track.gpu_s) == pytest.approx(replica.counters.gpu_s, rel=1e-9)
        assert all(reading <= running + 1e-9 for reading, running in zip(track.reading_s, track.running_s, strict=True))
    busy = report.figures["busy"]
    span_s = max(replica.counters.end_s for replica in replicas)
    for lane in ("gpu", "h2d", "d2h", "cpu"):
        kept_s = sum(sum(getattr(track, f"{lane}_s")) for track in record.tracks.values())
        # the summary prices all swaps as one copy, and so counts its latency once
        assert kept_s / span_s / len(replicas) == pytest.approx(busy[lane], rel=1e-2 if options is SWAP else 1e-6)
    assert columns.preemptions.sum() > 0 or "settings" not in options


@pytest.mark.parametrize("options", [TIGHT, SWAP])
def test_lives_add_up_and_show_every_preemption(options: dict[str, Any]) -> None:
    report, record = _run(**options)
    run, columns = report.simulation, report.simulation.columns
    reread = 0.0
    for index in map(int, np.flatnonzero(np.isfinite(columns.done_s))):
        one = life(run, record.away, index)
        assert one.e2e_s == pytest.approx(columns.done_s[index] - columns.arrival_s[index])
        assert min(one.parts_s) > -1e-9
        parts = dict(zip(PARTS, one.parts_s, strict=True))
        assert (parts["preempted"] > 0) == (columns.preemptions[index] > 0)
        reread += parts["read again"]
    assert (reread > 0) == (options is TIGHT), "a swapped cache is not read again"


@pytest.mark.parametrize("options", [TIGHT, SWAP])
def test_times_away_are_those_of_single_steps(options: dict[str, Any]) -> None:
    away = {}
    for exact in (False, True):
        kvsim.run("quickstart", observers=(watch := Away(),), exact=exact, **options)
        away[exact] = [(watch.waited(index), watch.reread(index)) for index in range(80)]
    assert away[False] == away[True]


def test_ranks_are_of_requests_that_exist() -> None:
    report, record = _run(limit=50)
    columns = report.simulation.columns
    e2e_s = np.sort(columns.done_s - columns.arrival_s)
    found = by_rank(report.simulation, record.away, (0.5, 0.99, 0.0))
    assert [one.e2e_s for one in found] == pytest.approx([e2e_s[24], e2e_s[49], e2e_s[0]])
    assert [one.e2e_s for one in slowest(report.simulation, record.away, 3)] == pytest.approx(e2e_s[::-1][:3])
    nothing, _ = _run(limit=3, settings={"max_model_len": 1})
    assert not by_rank(nothing.simulation, record.away, (0.5,)) and not slowest(nothing.simulation, record.away)
