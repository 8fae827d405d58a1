"""A trace in any format that can hold it replays as before, byte for byte; what a format cannot hold is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_columns import traces as any_traces

import kvsim
from kvsim.errors import UserError
from kvsim.traces import layouts
from kvsim.traces.convert import PARTS, convert, differences
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Blocks, Measured, Sessions, Trace, starts
from kvsim.traces.write import LAYOUTS

quick = settings(max_examples=25, deadline=None, database=None)
NOT_REPLAYED = ("wall_s", "names", "assumptions")


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Small traces on a clock of whole milliseconds, or finer, with or without ids that share prefixes."""
    count = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    stamps = np.cumsum(rng.integers(0, 400, count)) - 0
    arrival_s = (stamps - stamps[0]) / draw(st.sampled_from([1, 1000, 1000, 1e6, 3e7, 7.0]))
    prompt = rng.integers(1, draw(st.sampled_from([40, 3000])), count)
    output = rng.integers(1, 60, count)
    if not draw(st.booleans()):
        return Trace("t", arrival_s, prompt, output)
    size, floor, counted = draw(st.sampled_from([16, 64, 512])), draw(st.booleans()), draw(st.booleans())
    held = prompt // size if floor else -(-prompt // size)
    root = rng.integers(0, 3, count)  # of the requests, thirds share all the blocks that both have
    if counted:  # all of a third begin with the same run, which each has whole, and go on alone
        shared = np.array([(prompt[root == which] // size).min() for which in root])
        counts = np.stack([shared, held - shared], axis=1).ravel()
        ids = np.stack([root, np.arange(count) + 3], axis=1).ravel()
        some = (counts > 0).reshape(count, 2).sum(axis=1)
        return Trace("t", arrival_s, prompt, output, Blocks(ids[counts > 0], starts(some), size, counts[counts > 0]))
    at = np.arange(held.sum()) - np.repeat(starts(held)[:-1], held)
    return Trace("t", arrival_s, prompt, output, Blocks(at * 3 + np.repeat(root, held), starts(held), size))


def _again(trace: Trace, folder: Path, layout: str) -> Trace:
    kind = "jsonl.gz" if layout == "kvsim" else layouts.named(layout).KIND
    path = folder / f"{layout}.{kind}"
    convert(trace, path, layout)
    columns = getattr(layouts.named(layout), "COLUMNS", None) if layout != "kvsim" else None
    return read_trace(path, columns=columns)  # and its format is detected


def _report(trace: Trace) -> str:
    figures = kvsim.run(trace, hw="h100", policy="full", settings={"kv_blocks": 800}).figures
    return json.dumps({key: value for key, value in figures.items() if key not in NOT_REPLAYED})


@given(trace=traces())
@quick
def test_to_any_format_and_back(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    before, held = _report(trace), 0
    for layout in LAYOUTS:
        try:
            there = _again(trace, folder, layout)
        except UserError as error:
            assert "\n" not in str(error)
            assert layout != "kvsim"
            assert not list(folder.glob(f"{layout}.*"))
            continue
        held += 1
        assert list(differences(trace, there)) == []
        assert _report(there) == before
        back = _again(there, folder, "kvsim")
        assert _report(back) == before
    assert held >= 1


@given(trace=any_traces())
@quick
@pytest.mark.parametrize("layout", layouts.names())
def test_whatever_is_written_reads_back(layout: str, trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("round")
    path = folder / f"t.{layouts.named(layout).KIND}"
    without = [part for part in PARTS if part not in layouts.named(layout).HOLDS]
    try:
        made = convert(trace, path, layout, rounded=True, without=without)
    except UserError as error:
        assert "\n" not in str(error)
        assert not list(folder.iterdir())
        return
    there = read_trace(path, format=layout, columns=getattr(layouts.named(layout), "COLUMNS", None))
    assert list(differences(made, there)) == []
    tick_s = 1 / (layouts.named(layout).UNITS_PER_S or 1e18)
    assert np.abs(made.arrival_s - trace.arrival_s).max() <= 0.5001 * tick_s + np.spacing(trace.arrival_s[-1])


@pytest.mark.parametrize("layout", layouts.names())
def test_a_plain_trace_fits_all_formats_that_need_no_ids(layout: str, tmp_path: Path) -> None:
    trace = Trace("t", np.array([0.0, 0.25, 3.5]), np.array([100, 2000, 1]), np.array([7, 1, 300]))
    if "sessions" in getattr(layouts.named(layout), "NEEDS", ()):
        pytest.skip("needs sessions: see below")
    if getattr(layouts.named(layout), "NEEDS", ()):
        prompt = np.array([100, 2000, 1, 513])
        blocks = Blocks(np.array([0, 1, 2, 3, 4, 9, 0, 5]), np.array([0, 1, 5, 6, 8]), 512)
        trace = Trace("t", np.array([0.0, 0.25, 3.5, 4.0]), prompt, prompt, blocks)
    assert list(differences(trace, _again(trace, tmp_path, layout))) == []


def _rich() -> Trace:
    blocks = Blocks(np.array([0, 1, 0]), np.array([0, 2, 3]), 512)
    sessions = Sessions(np.array([4, 4]), np.array([0]), np.array([0, 0, 1]), np.array([0.0, 2.0]))
    measured = Measured(np.array([0.5, np.nan]), np.array([1.5, 2.0]))
    two = np.array([600, 512])
    return Trace("t", np.array([0.0, 0.0004]), two, two, blocks, sessions=sessions, measured=measured)


@pytest.mark.parametrize(
    ("layout", "without", "message"),
    [
        ("vidur", (), "no place for block ids: `--without blocks` leaves them out"),
        ("vidur", ("blocks",), "no place for sessions: `--without sessions` leaves them out"),
        ("vidur", ("blocks", "sessions"), "no place for measured latencies"),
        ("mooncake", ("sessions", "measured"), "clock ticks every ms, arrivals lie between: `--round`"),
        ("mooncake", ("sessions", "measured", "blocks"), "needs block ids, which this trace has not"),
        ("vidur", ("block",), "unknown part 'block': did you mean blocks"),
        ("vidor", (), "unknown layout 'vidor': did you mean vidur"),
    ],
)
def test_what_would_be_lost_is_named(layout: str, without: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        convert(_rich(), tmp_path / ("t.csv" if layout[0] == "v" else "t.jsonl"), layout, without=without)
    assert list(tmp_path.iterdir()) == []


def test_a_block_size_that_would_be_guessed_wrong_is_refused(tmp_path: Path) -> None:
    """Prompts of one block each would read back as blocks of 512."""
    trace = Trace("t", np.array([0.0]), np.array([10]), np.array([1]), Blocks(np.array([0]), np.array([0, 1]), 16))
    with pytest.raises(UserError, match="cannot hold this trace: blocks would read back differently"):
        convert(trace, tmp_path / "t.jsonl", "mooncake")
    assert list(tmp_path.iterdir()) == []
    odd = Trace("t", np.array([0.0]), np.array([100]), np.array([1]), Blocks(np.arange(15), np.array([0, 15]), 7))
    with pytest.raises(UserError, match=r"reading it back: .*t\.jsonl:1: a prompt of 100 tokens with 15 hash_ids"):
        convert(odd, tmp_path / "t.jsonl", "mooncake")


def _chain(gaps: bool) -> Trace:
    """Two sessions of two turns and one of one, in blocks of 16 tokens; the first turn of each at 0 s."""
    prompt = np.array([40, 33, 20, 70, 50])
    held = -(-prompt // 16)
    ids = [0, 1, 2, 10, 11, 12, 20, 21, 0, 1, 3, 4, 5, 10, 11, 13, 14]
    blocks = Blocks(np.array(ids), starts(held), 16)
    gap_s = np.array([0, 0, 0, 1.5, 2.5]) if gaps else None
    sessions = Sessions(np.array([0, 1, 2, 0, 1]), np.array([0, 1]), np.array([0, 0, 0, 0, 1, 2]), gap_s)
    measured = Measured(np.array([0.5, 0.25, np.nan, 1.0, 2.0]), np.array([1.5, 1.25, 2.0, 2.0, 3.0]))
    arrival_s = np.array([0.0, 0.0, 0.0, 7.0, 9.25])
    return Trace("t", arrival_s, prompt, np.full(5, 9), blocks, sessions=sessions, measured=measured if gaps else None)


@pytest.mark.parametrize(("layout", "gaps"), [("bailian", False), ("weka", True)])
def test_sessions_there_and_back(layout: str, gaps: bool, tmp_path: Path) -> None:
    trace = _chain(gaps)
    there = _again(trace, tmp_path, layout)
    assert list(differences(trace, there)) == []
    assert _report(there) == _report(trace)
    back = _again(there, tmp_path, "kvsim")
    assert _report(back) == _report(trace)


def test_sessions_that_would_change_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sessions' gap_s would read back differently"):
        convert(_chain(True), tmp_path / "t.jsonl", "bailian", without=("measured",))
    late = Trace(**{**vars(_chain(True)), "arrival_s": np.array([0.0, 1.0, 2.0, 7.0, 9.25])})
    assert (late.arrival_s[:3] > 0).any()
    fork = Trace(**{**vars(late), "sessions": late.sessions and replace(late.sessions, parents=np.array([0, 0]))})
    with pytest.raises(UserError, match="would read back differently"):
        convert(fork, tmp_path / "t.jsonl", "weka")
    assert list(tmp_path.iterdir()) == []


def test_own_format_holds_everything(tmp_path: Path) -> None:
    convert(_rich(), tmp_path / "t.jsonl", "kvsim")
    assert list(differences(_rich(), read_trace(tmp_path / "t.jsonl"))) == []


def test_rounding_is_told(tmp_path: Path) -> None:
    made = convert(_rich(), tmp_path / "t.jsonl", "mooncake", rounded=True, without=("sessions", "measured"))
    assert made.arrival_s.tolist() == [0.0, 0.0]
    assert "arrivals are rounded to ms" in made.notes
