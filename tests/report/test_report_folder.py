"""`--out DIR` and `--timeline FILE`: whole or not there, the same bytes for the same run."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import kvsim
from kvsim.errors import UserError
from kvsim.report.files import NAMES, check_file, check_folder, replacing_folder
from kvsim.report.folder import write_report
from kvsim.report.provenance import sha256
from kvsim.report.record import Record
from kvsim.report.timeline import Timeline
from kvsim.traces.trace import Trace

HIGH_BITS_PNG = b"\x89PNG\r\n\x1a\n"


def _write(path: Path, **options: Any) -> kvsim.Report:
    record = Record()
    report = kvsim.run("quickstart", limit=40, observers=(record,), **options)
    write_report(report, record, path, "quickstart", "kvsim run quickstart")
    return report


def test_equal_runs_write_equal_bytes_but_for_wall_s(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    _write(one)
    _write(two)
    assert sorted(path.name for path in one.iterdir()) == sorted(NAMES)
    for name in NAMES[1:]:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    for name in NAMES[3:]:
        assert (one / name).read_bytes().startswith(HIGH_BITS_PNG)
    reports = [json.loads((folder / "report.json").read_text()) for folder in (one, two)]
    assert reports[0].pop("wall_s") and reports[1].pop("wall_s")
    assert reports[0] == reports[1]


def test_provenance_names_every_file_that_was_read(tmp_path: Path) -> None:
    _write(tmp_path / "out", policy="kivi")
    found = json.loads((tmp_path / "out" / "report.json").read_text())["provenance"]
    assert (found["kvsim"], found["command"]) == (kvsim.__version__, "kvsim run quickstart")
    assert list(found["sha256"]["trace"]) == ["workloads/quickstart.yaml"]
    data = found["sha256"]["data"]
    assert {"hardware/systems/h100.yaml", "hardware/chips/h100-sxm.yaml", "workloads/models/llama-3-8b.yaml"} <= set(
        data
    )
    root = Path(kvsim.__file__).parents[1]
    assert all(sha256(root / name) == digest for name, digest in data.items())


def test_requests_are_rows_with_nulls_for_what_never_came(tmp_path: Path) -> None:
    report = _write(tmp_path / "out", settings={"max_model_len": 2000})
    table = pq.read_table(tmp_path / "out" / "requests.parquet")
    assert table.column_names == [
        "arrival_s", "prompt_tokens", "output_tokens", "scheduled_s", "first_token_s", "done_s", "hit_tokens",
        "preemptions", "replica", "rejected",
    ]  # fmt: skip
    rows = table.to_pylist()
    rejected = [row for row in rows if row["rejected"]]
    assert len(rows) == 40 and len(rejected) == report.figures["requests"]["rejected"] > 0
    assert all(row["done_s"] is None and row["replica"] is None for row in rejected)
    for row in rows:
        if not row["rejected"]:
            assert row["arrival_s"] <= row["scheduled_s"] <= row["first_token_s"] <= row["done_s"]


def test_a_former_report_is_replaced_and_its_folder_alone(tmp_path: Path) -> None:
    _write(tmp_path / "out")
    (tmp_path / "out" / "batch.png").unlink()
    _write(tmp_path / "out", policy="kivi")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["names"]["policy"] == "kivi"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "batch.png").exists()


def test_a_run_in_which_nothing_ran_is_a_report_too(tmp_path: Path) -> None:
    _write(tmp_path / "out", settings={"max_model_len": 1})
    assert (tmp_path / "out" / "latency.png").exists() and not (tmp_path / "out" / "batch.png").exists()
    check_folder(tmp_path / "out")


@pytest.mark.parametrize("fault", [KeyboardInterrupt, SystemExit, RuntimeError, OSError])
def test_a_fault_while_writing_leaves_the_former_state(tmp_path: Path, fault: type[BaseException]) -> None:
    for name in ("new", "old"):
        if name == "old":
            _write(tmp_path / name)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError if fault is OSError else fault), replacing_folder(tmp_path / name) as folder:
            (folder / "report.json").write_text("half")
            raise fault
        assert sorted(tmp_path.rglob("*")) == before


def test_checks_leave_no_trace(tmp_path: Path) -> None:
    check_folder(tmp_path / "out")
    check_file(tmp_path / "t.json")
    (tmp_path / "kept.json").write_text("{}")
    check_file(tmp_path / "kept.json")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("kept.json", "{}")]


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
def test_timeline_is_a_chrome_trace(tmp_path: Path, suffix: str) -> None:
    spans = Timeline()
    report = kvsim.run("quickstart", limit=40, replicas=2, policy="headinfer", observers=(spans,))
    path = tmp_path / f"t.{suffix}"
    spans.write(path)
    data = json.loads(gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes())
    events = data["traceEvents"]
    names = [event["args"]["name"] for event in events if event["ph"] == "M"]
    assert names == ["replica 0", "steps", "gpu", "h2d", "d2h", "cpu", "replica 1", "steps", "gpu", "h2d", "d2h", "cpu"]
    assert not spans.note and spans.spans == report.figures["events"]
    steps = sum(event["args"]["steps"] for event in events if event["ph"] == "X" and event["tid"] == 0)
    assert steps == report.figures["steps"]
    for number in (0, 1):
        for lane in range(5):
            own = [event for event in events if event["ph"] == "X" and (event["pid"], event["tid"]) == (number, lane)]
            ends = [event["ts"] + event["dur"] for event in own]
            assert own and all(e["ts"] >= end - 1e-3 for e, end in zip(own[1:], ends, strict=False)), "slices overlap"
    again = tmp_path / f"again.{suffix}"
    spans.write(again)
    assert again.read_bytes() == path.read_bytes()


def test_timeline_says_what_it_leaves_out(tmp_path: Path) -> None:
    spans = Timeline(most=10)
    kvsim.run("quickstart", limit=40, observers=(spans,))
    spans.write(tmp_path / "t.json")
    data = json.loads((tmp_path / "t.json").read_text())
    assert data["otherData"]["shown"] == 10 and data["otherData"]["note"].startswith("the first 10 of ")


def test_record_is_bounded_and_keeps_what_it_counts() -> None:
    record = Record()
    trace = Trace("long", np.arange(300) * 1000.0, np.full(300, 500, dtype=np.int64), np.full(300, 50, dtype=np.int64))
    report = kvsim.run(trace, observers=(record,))
    track = record.tracks[0]
    assert len(track.home) <= 2048 and track.slice_s * len(track.home) >= report.figures["duration_s"]
    columns = report.simulation.columns
    in_engine_s = float((columns.done_s - columns.scheduled_s).sum())
    assert sum(track.running_s) == pytest.approx(in_engine_s, rel=1e-6)
    assert max(track.home) > 0
