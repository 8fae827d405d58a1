"""Hit ratio against capacity: counted another way, bounded, and the same however blocks are written down."""

import os
from collections import OrderedDict
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim import find
from kvsim.errors import UserError
from kvsim.traces.hitcurve import hit_curve, leading_hits
from kvsim.traces.pieces import Pieces, pieces
from kvsim.traces.read import read_trace
from kvsim.traces.stats import infinite_cache_hits, leading_seen, stats
from kvsim.traces.trace import Blocks, Sessions, Trace
from kvsim.traits.eviction import eviction

MOONCAKE = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces/mooncake_fast25/conversation_trace.jsonl.gz"
real = pytest.mark.skipif(not MOONCAKE.exists(), reason=f"no {MOONCAKE}: set KVSIM_SHARED")
NAMES = find.paper_names("prefix")
Prompt = tuple[int, ...]


def traced(prompts: list[Prompt], tokens: int = 16) -> Trace:
    """Prompts of whole blocks, one id a block; each a session of its own by its first block."""
    count = len(prompts)
    start = np.concatenate([[0], np.cumsum([len(prompt) for prompt in prompts])])
    blocks = Blocks(np.array([i for prompt in prompts for i in prompt], np.int64), start, tokens)
    none = np.zeros(count + 1, np.int64)
    sessions = Sessions(np.array([prompt[0] for prompt in prompts]), np.array([], np.int64), none, None)
    return Trace(
        "t", np.arange(count) * 1.0, np.diff(start) * tokens, np.ones(count, np.int64), blocks, (), {}, sessions
    )


def chained(words: list[str]) -> list[Prompt]:
    """Ids of all beginnings of each word: equal ids are equal prefixes."""
    ids: dict[str, int] = {}
    return [tuple(ids.setdefault(word[: n + 1], len(ids)) for n in range(len(word))) for word in words]


def hits(prompts: list[Prompt], name: str, capacity: int) -> list[int]:
    trace = traced(prompts)
    assert trace.blocks is not None and trace.sessions is not None
    found = leading_hits(pieces(trace.blocks), eviction(name), capacity, trace.sessions.id.tolist())
    return found.tolist()  # type: ignore[no-any-return]


# -- counted another way ---------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize(
    ("capacity", "percent"), [(1_000, 4.5), (3_000, 6.7), (10_000, 21.6), (30_000, 33.2), (100_000, 37.1)]
)
def test_lru_on_mooncake_is_what_a_plain_count_gives(capacity: int, percent: float) -> None:
    trace = read_trace(MOONCAKE)
    assert trace.blocks is not None
    cache: OrderedDict[int, None] = OrderedDict()
    tokens = 0
    for i, prompt in enumerate(trace.prompt_tokens.tolist()):
        ids = trace.blocks.ids[trace.blocks.start[i] : trace.blocks.start[i + 1]].tolist()
        hit = 0
        while hit < len(ids) and ids[hit] in cache:
            hit += 1
        tokens += min(512 * hit, prompt)
        for block in reversed(ids):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > capacity:
            cache.popitem(last=False)
    ratio = tokens / int(trace.prompt_tokens.sum())
    assert round(100 * ratio, 1) == percent
    assert hit_curve(trace, [capacity], ["lru"]).token_ratios["lru"] == [ratio]


# -- bounds ----------------------------------------------------------------------------------------------------------

words = st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=7)


def _most(prompts: list[Prompt], capacity: int) -> int:
    """Blocks hit by the best of all ways to keep blocks."""

    @lru_cache(None)
    def best(i: int, kept: frozenset[int]) -> int:
        if i == len(prompts):
            return 0
        hit = next((n for n, block in enumerate(prompts[i]) if block not in kept), len(prompts[i]))
        have = kept | set(prompts[i])
        some = combinations(sorted(have), min(capacity, len(have)))
        return hit + max(best(i + 1, frozenset(choice)) for choice in some)

    return best(0, frozenset())


@settings(max_examples=60, deadline=None)
@given(words=words, capacity=st.integers(1, 4))
def test_belady_hits_as_many_blocks_as_anything_can(words: list[str], capacity: int) -> None:
    prompts = chained(words)
    most = _most(prompts, capacity)
    assert sum(hits(prompts, "belady", capacity)) == most
    assert sum(hits(prompts, "succinct:accuracy=1", capacity)) == most


long_words = st.lists(st.text("abc", min_size=1, max_size=8), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(words=long_words, capacity=st.integers(1, 30))
@pytest.mark.parametrize("name", [*NAMES, "succinct:accuracy=0.5:prompts=false", "s3-fifo:small=0.5:uses=1"])
def test_every_order_is_bounded(name: str, words: list[str], capacity: int) -> None:
    """By Belady in all, by the infinite cache in each request; a cache that holds all equals it."""
    prompts = chained(words)
    blocks = traced(prompts).blocks
    assert blocks is not None
    found, infinite = hits(prompts, name, capacity), leading_seen(blocks)
    assert sum(found) <= sum(hits(prompts, "belady", capacity))
    assert (np.array(found) <= infinite).all()
    assert hits(prompts, name, len(set(blocks.ids.tolist()))) == infinite.tolist()


@real
@pytest.mark.parametrize("capacity", [300, 3_000])
def test_belady_is_above_all_on_mooncake(capacity: int) -> None:
    curve = hit_curve(read_trace(MOONCAKE, limit=2500), [capacity])
    ratios = {name: points[0] for name, points in curve.token_ratios.items()}
    assert set(ratios) == set(NAMES) - {"session-aware"}
    assert all(ratio <= ratios["belady"] <= curve.infinite for ratio in ratios.values())


@real
def test_better_bits_hit_more() -> None:
    trace = read_trace(MOONCAKE, limit=2500)
    names = [f"succinct:accuracy={share}" for share in (0.5, 0.8, 0.95, 1)]
    points = [curve[0] for curve in hit_curve(trace, [3000], [*names, "belady"]).token_ratios.values()]
    assert points == sorted(points) and points[0] < points[1] < points[2] < points[3] == points[4]
    again = hit_curve(trace, [3000], ["succinct:accuracy=0.8:seed=1", names[1]]).token_ratios
    assert again[names[1]] == [points[1]] != again["succinct:accuracy=0.8:seed=1"]


# -- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_that_goes_on_keeps_its_blocks() -> None:
    """0 comes every second request, the others once: LRU gives 0's blocks up, whoever knows its gap does not."""
    once = iter(range(100, 200))
    prompts = chained([word for _ in range(8) for word in ("aaaa", f"b{chr(next(once))}xx")])
    assert sum(hits(prompts, "lru", 4)) == 0
    assert sum(hits(prompts, "session-aware", 4)) > 12


def test_what_ended_goes_before_what_goes_on() -> None:
    turn, end, other = (1, 2), (3, 4), (5, 6)
    prompts = [end, end, turn, turn, turn, turn, turn, turn, other]
    found = hits([*prompts, turn, end], "session-aware", 4)
    assert found[-2:] == [2, 0]


# -- however it is written down --------------------------------------------------------------------------------------


@st.composite
def runs(draw: st.DrawFn) -> tuple[Trace, Trace]:
    """The same prompts as runs that end anywhere, and as single blocks."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=4, max_size=4))
    paths = [(0,), (0, 1), (0, 1, 2), (0, 3), (3,)]
    ids: list[int] = []
    counts: list[int] = []
    start, prompts = [0], []
    for path, end in draw(st.lists(st.tuples(st.sampled_from(paths[:4]), st.integers(1, 6)), min_size=1, max_size=25)):
        used = [*(sizes[run] for run in path[:-1]), min(end, sizes[path[-1]])]
        ids += path
        counts += used
        start.append(len(ids))
        prompts.append(tuple(run * 10 + n for run, many in zip(path, used, strict=True) for n in range(many)))
    single = traced(prompts)
    blocks = Blocks(np.array(ids, np.int64), np.array(start, np.int64), 16, np.array(counts, np.int64))
    return Trace("t", single.arrival_s, single.prompt_tokens, single.output_tokens, blocks), single


@settings(max_examples=150, deadline=None)
@given(both=runs(), capacity=st.integers(1, 25))
@pytest.mark.parametrize("name", ["lru", "belady"])
def test_runs_of_blocks_give_what_single_blocks_give(name: str, both: tuple[Trace, Trace], capacity: int) -> None:
    found = []
    for trace in both:
        assert trace.blocks is not None
        found.append(leading_hits(pieces(trace.blocks), eviction(name), capacity).tolist())
    assert found[0] == found[1]


@settings(max_examples=150, deadline=None)
@given(both=runs())
def test_the_infinite_cache_sees_blocks_through_runs(both: tuple[Trace, Trace]) -> None:
    runs, single = both
    assert runs.blocks is not None and single.blocks is not None
    assert leading_seen(runs.blocks).tolist() == leading_seen(single.blocks).tolist()
    assert infinite_cache_hits(runs) == infinite_cache_hits(single)
    figures = [stats(trace) for trace in both]
    for key in ("blocks", "unique_blocks", "hit_ratio_blocks", "hit_ratio_tokens"):
        assert figures[0][key] == figures[1][key]


def test_other_ids_of_the_same_prompts() -> None:
    """What a request leaves in the cache may be more than its prompt: here the first one's answer."""
    trace = traced([(0,), (1, 2, 3)])
    start = np.array([0, 3, 6])
    hits = infinite_cache_hits(trace, Blocks(np.array([1, 2, 9, 1, 2, 3]), start, 16))
    assert hits is not None and hits.tokens == 32
    assert infinite_cache_hits(trace).tokens == 0  # type: ignore[union-attr]


@settings(max_examples=60, deadline=None)
@given(both=runs())
def test_pieces_are_used_whole(both: tuple[Trace, Trace]) -> None:
    assert both[0].blocks is not None and both[1].blocks is not None
    cut, single = pieces(both[0].blocks), pieces(both[1].blocks)
    assert cut.unique_blocks == single.unique_blocks
    starts = np.concatenate([[0], np.cumsum(cut.blocks[cut.names])])[cut.start]
    assert (starts == single.start).all()
    following = cut.next_use()
    for at, name in enumerate(cut.names.tolist()):
        later = np.flatnonzero(cut.names[at + 1 :] == name)
        assert following[at] == (at + 1 + later[0] if len(later) else len(cut.names))


def test_an_id_repeated_in_a_prompt_counts_once() -> None:
    cut = pieces(Blocks(np.array([5, 7, 5, 7, 7]), np.array([0, 3, 5]), 16))
    expected = Pieces(np.array([0, 1, 1]), np.array([0, 2, 3]), np.array([1, 1]))
    assert all((getattr(cut, key) == getattr(expected, key)).all() for key in ("names", "start", "blocks"))


# -- mistakes --------------------------------------------------------------------------------------------------------


def test_what_a_trace_does_not_allow_is_said() -> None:
    bare = Trace("bare", np.zeros(1), np.array([10]), np.array([1]))
    with pytest.raises(UserError, match="bare: has no block ids"):
        hit_curve(bare, [10])
    alone = Trace("alone", np.zeros(1), np.array([10]), np.array([1]), Blocks(np.array([1]), np.array([0, 1]), 16))
    with pytest.raises(UserError, match="alone: eviction 'session-aware' needs sessions"):
        hit_curve(alone, [10], ["session-aware"])
    assert hit_curve(alone, [10]).left_out == [
        "sessions expected soonest stay (session-aware): the trace has no sessions"
    ]
    with pytest.raises(UserError, match="did you mean lru"):
        hit_curve(alone, [10], ["lrru"])
    with pytest.raises(UserError, match="accuracy must be in"):
        hit_curve(alone, [10], ["succinct:accuracy=2"])
