"""What is computed from a trace: its clock, its statistics, files that hold it."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kvsim.errors import UserError
from kvsim.traces import clock
from kvsim.traces.read import read_trace
from kvsim.traces.stats import infinite_cache_hits, leading_seen, stats
from kvsim.traces.trace import Blocks, Chunk, Trace, gather
from kvsim.traces.write import replacing, write_trace

quick = settings(max_examples=50, deadline=None, database=None)


def _trace(arrival_s: list[float], blocks: list[list[int]] | None = None, size: int = 4) -> Trace:
    count = len(arrival_s)
    prompt = [max(1, size * len(row) - 1) for row in blocks] if blocks else [5] * count
    ids = None
    if blocks is not None:
        start = np.cumsum([0, *map(len, blocks)])
        ids = Blocks(np.array([block for row in blocks for block in row], np.int64), start.astype(np.int64), size)
    return Trace("t", np.array(arrival_s, float), np.array(prompt, np.int64), np.full(count, 3, np.int64), ids)


@pytest.mark.parametrize(
    ("arrival_s", "tick_s"),
    [
        ([0.0], None),
        ([0.0, 0.0], None),
        ([0.0, 5.0, 45.0, 118.0], 1.0),
        ([0.0, 0.5, 2.0], 0.5),
        ([0.0, 0.0, 2.997, 2.997, 5.998, 5.998, 9.001, 9.001], 3.001),
        ([0.0, 0.000001, 0.000003], 1e-6),
        ([0.0, 0.1234567, 0.7654321], None),
        ([0.0, 1e15], None),
    ],
)
def test_tick(arrival_s: list[float], tick_s: float | None) -> None:
    assert (
        clock.tick_s(_trace(arrival_s)) == pytest.approx(tick_s) if tick_s else clock.tick_s(_trace(arrival_s)) is None
    )


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.integers(0, 100))
@quick
def test_spread_keeps_order_and_ticks(stamps: list[int], seed: int) -> None:
    trace = _trace([3.0 * (stamp - min(stamps)) for stamp in sorted(stamps)])
    spread = clock.spread(trace, seed)
    assert spread.arrival_s[0] == 0
    assert (np.diff(spread.arrival_s) >= 0).all()
    tick_s = clock.tick_s(trace) or 0.0
    shift = spread.arrival_s - trace.arrival_s
    assert np.abs(shift).max() <= tick_s
    assert spread.arrival_s.tobytes() == clock.spread(trace, seed).arrival_s.tobytes()


def _leading_seen_slowly(rows: list[list[int]]) -> list[int]:
    seen: set[int] = set()
    runs = []
    for row in rows:
        run = 0
        while run < len(row) and row[run] in seen:
            run += 1
        runs.append(run)
        seen.update(row)
    return runs


@given(st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=25))
@quick
def test_hits_equal_a_plain_loop(rows: list[list[int]]) -> None:
    trace = _trace([0.0] * len(rows), rows)
    assert trace.blocks
    assert leading_seen(trace.blocks).tolist() == _leading_seen_slowly(rows)


def test_hits_by_hand() -> None:
    """Blocks of 4 tokens, prompts of 7, 7 and 3: the second hits its first block, the third its only one, partial."""
    hits = infinite_cache_hits(_trace([0.0, 1.0, 2.0], [[0, 1], [0, 2], [0]]))
    assert hits
    assert (hits.blocks, hits.tokens) == (2, 4 + 3)
    assert hits.token_ratio == 7 / 17
    assert infinite_cache_hits(_trace([0.0])) is None


def test_stats_of_one_request_has_no_rate() -> None:
    figures = stats(_trace([0.0]))
    assert figures["rate_per_s"] is None
    assert figures["interarrival_cv"] is None
    assert figures["prompt_tokens"]["p99"] == 5.0


def test_gather_refuses_what_no_reader_should_yield() -> None:
    one = np.array([1])
    for chunk, message in (
        (Chunk(one, np.array([np.nan]), one, one), "finite"),
        (Chunk(one, one, np.array([0]), one), "prompt must have"),
        (Chunk(one, one, one, np.array([2**40])), "output must have"),
    ):
        with pytest.raises(UserError, match=message):
            gather("x", [chunk])


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Traces with figures at the ends of their ranges, with or without ids."""
    count = draw(st.integers(1, 20))
    gaps = draw(arrays.arrays(np.float64, count, elements=st.floats(0, 1e7)))
    tokens = st.integers(1, 2**30)
    prompt, output = (draw(arrays.arrays(np.int64, count, elements=tokens)) for _ in range(2))
    blocks = None
    if draw(st.booleans()):
        prompt = prompt % 50 + 1
        size = draw(st.integers(1, 20))
        start = np.cumsum([0, *(-(-prompt // size))])
        blocks = Blocks(draw(arrays.arrays(np.int64, int(start[-1]), elements=st.integers(0, 2**63 - 1))), start, size)
    arrival_s = np.cumsum(gaps)
    return Trace("t", arrival_s - arrival_s[0], prompt, output, blocks, ("a note", "of two"), {"why": 3})


@given(trace=traces())
@quick
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".csv.gz"])
def test_round_trip_is_exact(suffix: str, trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("round") / f"t{suffix}"
    if trace.blocks and "csv" in suffix:
        with pytest.raises(UserError, match="cannot hold block ids"):
            write_trace(trace, path)
        return
    write_trace(trace, path)
    back = read_trace(path)
    assert back.name == "t"
    assert back.arrival_s.tobytes() == trace.arrival_s.tobytes()
    assert back.prompt_tokens.tobytes() == trace.prompt_tokens.tobytes()
    assert back.output_tokens.tobytes() == trace.output_tokens.tobytes()
    if "jsonl" in suffix:
        assert back.notes[:2] == trace.notes
        assert back.dropped == trace.dropped
    if trace.blocks:
        assert back.blocks
        assert back.blocks.tokens == trace.blocks.tokens
        assert back.blocks.ids.tobytes() == trace.blocks.ids.tobytes()
        assert back.blocks.start.tobytes() == trace.blocks.start.tobytes()
    before = path.read_bytes()
    write_trace(back, path)  # notes and counts are not piled up
    if "jsonl" in suffix:
        assert path.read_bytes() == before


def test_mooncake_layout_reads_back_with_the_same_hits(tmp_path: Path) -> None:
    rows = [list(range(7)), [0, 1, 8], [0, 9, 10]]
    trace = _trace([0.0, 1.25, 3.0], rows, 512)
    write_trace(trace, tmp_path / "m.jsonl", "mooncake")
    back = read_trace(tmp_path / "m.jsonl")
    assert back.arrival_s.tolist() == trace.arrival_s.tolist()
    assert infinite_cache_hits(back) == infinite_cache_hits(trace)
    with pytest.raises(UserError, match="needs block ids"):
        write_trace(_trace([0.0]), tmp_path / "m.jsonl", "mooncake")


def test_own_format_checks_the_number_of_ids(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_trace(_trace([0.0], [[1, 2]]), path)
    path.write_text(path.read_text().replace("[1, 2]", "[1, 2, 3]"))
    with pytest.raises(UserError, match=r"t.jsonl:2: prompt_tokens 7 with 3 block_ids"):
        read_trace(path)


def test_gzip_bytes_do_not_depend_on_time_or_name(tmp_path: Path) -> None:
    trace = _trace([0.0, 1.0])
    write_trace(trace, tmp_path / "a.jsonl.gz")
    write_trace(trace, tmp_path / "b.jsonl.gz")
    data = (tmp_path / "a.jsonl.gz").read_bytes()
    assert data == (tmp_path / "b.jsonl.gz").read_bytes()
    assert data[4:8] == b"\0\0\0\0"
    assert gzip.decompress(data).startswith(b'{"kvsim_trace": 1')


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    target = tmp_path / "t.jsonl"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.jsonl"]  # noqa: PTH208 (hidden files too)


@pytest.mark.parametrize("name", ["t.txt", "t", "folder.csv", "missing/t.csv", "file/t.csv", "x" * 300 + ".csv"])
def test_paths_that_cannot_be_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError):
        write_trace(_trace([0.0]), tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.csv"]  # noqa: PTH208
