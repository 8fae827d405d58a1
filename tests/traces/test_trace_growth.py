"""Block ids made from how prompts grow: what calls share is what they would have shared as tokens."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kvsim.traces.growth import BLOCK_TOKENS, Growth
from kvsim.traces.runs import expanded
from kvsim.traces.sessions import Call
from kvsim.traces.trace import Blocks, starts


def _ids(calls: list[Call]) -> list[list[int]]:
    """Ids of the calls, one a block, numbered alike over all of them."""
    flat = [np.concatenate([getattr(call, name) for call in calls]) for name in ("ids", "counts")]
    blocks = expanded(Blocks(flat[0], starts(np.array([len(call.ids) for call in calls])), BLOCK_TOKENS, flat[1]))
    return [blocks.ids[a:b].tolist() for a, b in zip(blocks.start[:-1], blocks.start[1:], strict=True)]


def _common(a: list[int], b: list[int]) -> int:
    return next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _call(prompt: int, output: int, *parents: int) -> Call:
    return Call(1, 0, prompt, output, parents)


def test_a_turn_that_grew_shares_prompt_and_output() -> None:
    growth = Growth()
    first, second, third = _ids(growth.ids([_call(100, 60), _call(160, 5, 0), _call(300, 1, 1)]))
    assert (len(first), len(second), len(third)) == (6, 10, 18)
    assert _common(first, second) == 6
    assert _common(second, third) == 10
    assert "2 later turns share the prompt and output before them, 0 are shorter" in growth.notes()[0]


def test_a_shorter_turn_starts_anew_or_after_what_the_source_says() -> None:
    for told, shared in ((None, 0), (0, 0), (80, 5), (95, 5), (10_000, 9)):
        growth = Growth()
        first, second = _ids(growth.ids([_call(200, 60), _call(150, 5, 0)], [None, told]))
        assert _common(first, second) == shared
        assert "0 later turns" in growth.notes()[0]
        assert ("after what the source says" in growth.notes()[0]) == (shared > 0)


def test_what_the_source_says_does_not_lessen_growth() -> None:
    first, second = _ids(Growth().ids([_call(160, 16), _call(200, 5, 0)], [None, 16]))
    assert _common(first, second) == 10


def test_a_chain_of_turns_parts_where_prompts_end() -> None:
    """A run that only later turns have goes on through the output and the message after it."""
    made = Growth().ids([_call(32, 16), _call(80, 16, 0), _call(160, 1, 1)])
    assert [np.asarray(call.counts).tolist() for call in made] == [
        [2],
        [2, 3],
        [2, 3, 5],
    ]


def test_siblings_share_the_output_before_them_but_not_what_follows() -> None:
    calls = [_call(32, 32), _call(96, 1, 0), _call(96, 1, 0)]
    _, one, two = _ids(Growth().ids(calls))
    assert _common(one, two) == 4


def test_the_longest_parent_that_fits_is_gone_on_from() -> None:
    calls = [_call(32, 16), _call(64, 16, 0), _call(800, 1, 0), _call(200, 1, 0, 1, 2)]
    _, middle, longest, last = _ids(Growth().ids(calls))
    assert _common(middle, last) == 4
    assert _common(longest, last) == 3  # what both go on from: call 0


def test_sessions_share_nothing() -> None:
    growth = Growth()
    one, two = (growth.ids([_call(64, 64)]) for _ in range(2))
    assert set(one[0].ids) & set(two[0].ids) == set()
    assert growth.ids([]) == []


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[Call], list[int | None]]:
    size = st.integers(1, 120)
    calls: list[Call] = []
    for at in range(draw(st.integers(1, 7))):
        parents = sorted(draw(st.sets(st.integers(0, at - 1), max_size=2))) if at else []
        calls.append(_call(draw(size), draw(size), *parents))
    return calls, [draw(st.none() | st.integers(0, 150)) for _ in calls]


@given(chat=chats())
def test_ids_are_those_of_tokens(chat: tuple[list[Call], list[int | None]]) -> None:
    """Against sequences of tokens made by the same rule: equal leading blocks, block by block."""
    calls, told = chat
    sequences: list[list[tuple[int, int]]] = []
    for at, call in enumerate(calls):
        base: list[tuple[int, int]] = []
        fitting = [sequences[parent] for parent in call.parents if len(sequences[parent]) <= call.prompt_tokens]
        if fitting:
            base = max(fitting, key=len)
        elif call.parents:
            longest = max((sequences[parent] for parent in call.parents), key=len)
            base = longest[: min(told[at] or 0, call.prompt_tokens)]
        whole = len(base) // BLOCK_TOKENS * BLOCK_TOKENS
        total = call.prompt_tokens + call.output_tokens
        sequences.append(base[:whole] + [(at, token) for token in range(whole, total)])
    ids = _ids(Growth().ids(calls, told))
    for i, call in enumerate(calls):
        assert len(ids[i]) == call.prompt_tokens // BLOCK_TOKENS
        for j in range(i):
            most = min(call.prompt_tokens, calls[j].prompt_tokens)
            pairs = zip(sequences[i][:most], sequences[j][:most], strict=True)
            tokens = next((at for at, (x, y) in enumerate(pairs) if x != y), most)
            assert _common(ids[i], ids[j]) == tokens // BLOCK_TOKENS


def test_both_bounds_are_told() -> None:
    """160 of 360 tokens are shared; 96 of them were in the first prompt, in whole blocks, 64 in its output."""
    growth = Growth()
    growth.ids([_call(100, 60), _call(160, 5, 0), _call(100, 5)], [None, None, 30])
    assert growth.notes()[1:] == [
        "infinite-cache hit 26.7% of prompt tokens, 44.4% where outputs are found again as well",
        "30 tokens that first turns shared with turns not known count as new",
    ]


def test_long_prompts_cost_no_more_than_short_ones() -> None:
    """A million turns' worth of blocks in a few runs."""
    most = 2**30
    calls = [_call(most, most), *(_call(most, most, at) for at in range(200))]
    made = Growth().ids(calls, [None, *[most // 2] * 200])
    assert sum(len(call.ids) for call in made) < 1000
    assert sum(int(np.sum(call.counts)) for call in made if call.counts is not None) == 201 * most // BLOCK_TOKENS


def test_calls_without_tokens_hand_on_what_they_waited_for() -> None:
    """Waves of failed calls, each waiting for all of the last: no list of who waited for whom explodes."""
    calls = [_call(32, 32)]
    for wave in range(40):
        before = range(1 + 4 * (wave - 1), 1 + 4 * wave) if wave else range(1)
        calls += [_call(0, 0, *before) for _ in range(4)]
    calls.append(_call(96, 1, *range(len(calls) - 4, len(calls))))
    ids = _ids(Growth().ids(calls))
    assert _common(ids[0], ids[-1]) == 2
