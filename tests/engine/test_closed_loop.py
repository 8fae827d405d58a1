"""Sessions in a closed loop: who waits for whom, how many at a time, and what the next turn hits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kvsim.find as find
from kvsim.engine.check import checker
from kvsim.engine.simulate import Simulation, simulate
from kvsim.errors import UserError
from kvsim.replay import run, serving_preset
from kvsim.traces.loop import is_closed, paced
from kvsim.traces.reuse import with_outputs
from kvsim.traces.trace import Blocks, Sessions, Trace, starts
from kvsim.traits.policy import policy


@st.composite
def sessions(draw: st.DrawFn) -> Trace:
    """Some sessions of a few calls each, as DAGs; a first child's prompt repeats its parent's prompt and output."""
    session, parents, counts, prompts, outputs, gaps = [], [], [], [], [], []
    ids: list[int] = []
    id_counts = []
    for number in range(draw(st.integers(1, 5))):
        begin, known = len(session), []
        for at in range(draw(st.integers(1, 5))):
            waits = sorted(draw(st.sets(st.integers(0, at - 1), max_size=2))) if at else []
            grown = bool(waits) and draw(st.booleans())
            prompt = draw(st.integers(1, 300))
            own: list[int] = []
            if grown:
                prompt += prompts[begin + waits[0]] + outputs[begin + waits[0]]
                own = known[waits[0]][: prompts[begin + waits[0]] // 16]
            own = [*own, *(10_000 * (begin + at + 1) + j for j in range(-(-prompt // 16) - len(own)))]
            known.append(own)
            session.append(number)
            parents += [begin + parent for parent in waits]
            counts.append(len(waits))
            prompts.append(prompt)
            outputs.append(draw(st.integers(1, 60)))
            gaps.append(draw(st.sampled_from([0.0, 0.001, 0.3])) if waits else 0.0)
            ids += own
            id_counts.append(len(own))
    together = Sessions(np.array(session), np.array(parents, np.int64), starts(np.array(counts)), np.array(gaps))
    blocks = Blocks(np.array(ids), starts(np.array(id_counts)), 16)
    arrival_s = np.sort(np.array(draw(st.lists(st.floats(0, 3), min_size=len(session), max_size=len(session)))))
    trace = Trace("drawn", arrival_s, np.array(prompts), np.array(outputs), blocks, sessions=together)
    return with_outputs(trace) if draw(st.booleans()) else trace


def replay(trace: Trace, exact: bool = False, concurrency: int | None = None, **own: object) -> Simulation:
    return simulate(
        trace, find.machine("h100"), find.model("llama-3-8b"), policy("full"), serving_preset("vllm", own),
        exact=exact, closed=True, concurrency=concurrency, replicas=2, observers=(checker,),
    )  # fmt: skip


def sent_s(run_: Simulation) -> list[float]:
    """When each request should have been sent, from the ends of its parents."""
    trace, columns = run_.trace, run_.columns
    found = []
    for i in range(len(trace)):
        assert trace.sessions and trace.sessions.gap_s is not None
        waits = trace.sessions.parents[trace.sessions.start[i] : trace.sessions.start[i + 1]]
        ends = columns.done_s[waits]
        found.append(ends.max() + trace.sessions.gap_s[i] if len(waits) else trace.arrival_s[i])
    return found


@settings(max_examples=60)
@given(trace=sessions(), routing=st.sampled_from(["round_robin", "least_tokens", "session"]))
def test_a_turn_is_sent_its_gap_after_its_last_parent(trace: Trace, routing: str) -> None:
    spans, single = replay(trace, routing=routing, kv_blocks=200), replay(trace, True, routing=routing, kv_blocks=200)
    for name, column in vars(spans.columns).items():
        assert column.tobytes() == vars(single.columns)[name].tobytes(), name
    assert spans.columns.arrival_s.tolist() == sent_s(spans)
    assert np.isfinite(spans.columns.done_s).all()
    if routing == "session":
        assert trace.sessions
        homes = {(int(s), int(r)) for s, r in zip(trace.sessions.id, spans.columns.replica, strict=True)}
        assert len(homes) == len(set(trace.sessions.id.tolist()))


@settings(max_examples=40)
@given(trace=sessions(), most=st.integers(1, 3))
def test_no_more_sessions_than_concurrency_are_under_way(trace: Trace, most: int) -> None:
    columns = replay(trace, concurrency=most).columns
    assert trace.sessions
    spans = [
        (columns.arrival_s[trace.sessions.id == s].min(), columns.done_s[trace.sessions.id == s].max())
        for s in range(int(trace.sessions.id.max()) + 1)
    ]
    assert np.isfinite(columns.done_s).all()
    for begin, _ in spans:
        assert sum(other <= begin < end for other, end in spans) <= most


def _two_turns(child_prompt: int, output: int = 33) -> Trace:
    ids = [*range(4), *range(3), *range(100, 100 - 3 - (-child_prompt // 16))]
    blocks = Blocks(np.array(ids), np.array([0, 4, len(ids)]), 16)
    both = Sessions(np.zeros(2, np.int64), np.array([0]), np.array([0, 0, 1]), np.array([0.0, 1.0]))
    return Trace("two", np.zeros(2), np.array([50, child_prompt]), np.array([output, 5]), blocks, sessions=both)


def test_the_next_turn_hits_what_was_generated() -> None:
    trace = _two_turns(130)  # 50 + 33 tokens, the last of them never read: 5 full blocks of 16
    hits = [run(t, settings={"watermark": 0}).simulation.columns.hit_tokens.tolist() for t in (trace,)]
    assert hits == [[0, 80]]
    assert run(trace, reuse="prompts").simulation.columns.hit_tokens.tolist() == [0, 48]
    lines = [line for line in run(trace).figures["assumptions"] if line.startswith("outputs are cached")]
    assert lines and "if only prompts were reused" in lines[0]


def test_a_turn_too_short_to_hold_the_output_hits_the_prompt_only() -> None:
    trace = _two_turns(60)
    assert with_outputs(trace).blocks is not None
    assert run(trace).simulation.columns.hit_tokens.tolist() == [0, 48]


def test_counted_runs_replay_as_single_blocks_do() -> None:
    trace = _two_turns(130)
    assert trace.blocks
    ids, counts, start = np.array([7, 8, 7, 9]), np.array([3, 1, 3, 6]), np.array([0, 2, 4])
    counted = replace(trace, blocks=Blocks(ids, start, 16, counts))
    for reuse in ("outputs", "prompts"):
        a, b = (run(t, reuse=reuse).simulation.columns for t in (trace, counted))
        assert a.done_s.tobytes() == b.done_s.tobytes()
        assert a.hit_tokens.tolist() == b.hit_tokens.tolist()


def test_the_report_names_the_loop_and_measures_sessions() -> None:
    figures = run(_two_turns(130)).figures
    assert figures["loop"] == "closed"
    assert figures["sessions"]["count"] == figures["sessions"]["completed"] == 1
    assert figures["sessions"]["e2e_s"]["mean"] == pytest.approx(figures["duration_s"])
    assert any(line.startswith("closed loop: 1 session; a turn is sent a gap") for line in figures["assumptions"])
    cut = run(_two_turns(130), until_s=0.5).figures  # the second turn has not come yet
    assert (cut["sessions"]["completed"], cut["requests"]["injected"]) == (0, 1)
    opened = run(_two_turns(130), loop="open").figures
    assert opened["loop"] == "open"
    assert any(line.startswith("open loop: turns") for line in opened["assumptions"])
    assert run(replace(_two_turns(130), sessions=None)).figures["sessions"] is None


def test_a_rejected_turn_lets_its_session_go_on() -> None:
    trace = replace(_two_turns(130), prompt_tokens=np.array([500_000, 130]), blocks=None)
    columns = run(trace, settings={"max_model_len": 8000, "api_s": 1e-3}).simulation.columns
    assert columns.rejected.tolist() == [True, False]
    assert columns.arrival_s[1] == pytest.approx(1.0 + 1e-3)  # its answer, an error, comes after the API's time


def test_what_a_loop_needs_is_said() -> None:
    plain = replace(_two_turns(130), sessions=None)
    assert is_closed(plain, None, None) is False
    assert is_closed(plain, None, 4) is True
    assert is_closed(_two_turns(130), None, None) is True
    assert _two_turns(130).sessions is not None
    untold = replace(_two_turns(130), sessions=replace(_two_turns(130).sessions, gap_s=None))  # type: ignore[type-var]
    closed_only = replace(_two_turns(130), sessions=replace(_two_turns(130).sessions, timed=False))  # type: ignore[type-var]
    for trace, loop, most, says in [
        (plain, "closed", None, "has no sessions: only an open loop"),
        (untold, "closed", None, "sessions without think times"),
        (closed_only, "open", None, "no stamps of later turns"),
        (plain, "open", 3, "concurrency is for a closed loop"),
        (plain, "ajar", None, "unknown loop 'ajar'"),
        (plain, None, 0, "concurrency must be at least 1"),
    ]:
        with pytest.raises(UserError, match=says):
            is_closed(trace, loop, most)


def test_sessions_are_paced() -> None:
    trace = _two_turns(130)
    short = paced(trace, 0.25, None, 0)
    assert short.sessions and short.sessions.gap_s is not None
    assert short.sessions.gap_s.tolist() == [0.0, 0.25]
    apart = Sessions(np.array([5, 3, 5]), np.array([0]), np.array([0, 0, 0, 1]), np.zeros(3))
    several = Trace("t", np.array([0.0, 1.0, 1.5]), *(np.array([9, 8, 7]) for _ in range(2)), sessions=apart)
    spaced = paced(several, None, 0.01, 1)  # some 100 s from one session to the next
    assert spaced.prompt_tokens.tolist() == [9, 7, 8]
    assert spaced.arrival_s[:2].tolist() == pytest.approx([0.0, 1.5])
    assert spaced.arrival_s[2] == paced(several, None, 0.01, 1).arrival_s[2] > 1.5
    with pytest.raises(UserError, match="no sessions"):
        paced(replace(trace, sessions=None), None, 2.0, 0)
