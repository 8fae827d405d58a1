"""Which heads have which budget: on states where some heads plainly need more than others."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.attention import attend  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.probes import equal_to, mass_on  # noqa: E402
from kvsim.traits.profile import Figure  # noqa: E402

from .naive import attention, group  # noqa: E402
from .test_compress import tiny  # noqa: E402

PROMPT = 60


def with_heads(wanted: dict[tuple[int, int], str], prompt: int = PROMPT + 4):
    """States of 2 layers x 2 kv heads whose queries look where they are told: `before` what follows an earlier copy of

    their token, `copy` at the copy, `first` at token 0, `near` at themselves, everything else evenly.
    """
    made = made_up(tiny(), prompt, seed=9)
    tokens = torch.arange(prompt) % 20  # each token comes again after 20
    layers = []
    for i, layer in enumerate(made.layers):
        queries, keys = torch.zeros_like(layer.queries), torch.zeros_like(layer.keys)
        marks = torch.nn.functional.normalize(
            torch.randn(prompt, 32, generator=torch.Generator().manual_seed(1)), dim=1
        )
        for kv_head in range(2):
            what = wanted.get((i, kv_head), "even")
            keys[kv_head] = marks
            offset = {"before": -19, "copy": -20, "near": 0}.get(what)
            for at in range(prompt):
                looks = 0 if what == "first" else None if offset is None or at + offset < 0 else at + offset
                if looks is not None:
                    queries[group(layer, kv_head), at] = 60 * marks[looks]
        layers.append(replace(layer, queries=queries, keys=keys))
    return replace(made, tokens=tokens, layers=tuple(layers))


def test_masks_of_copies_and_what_followed_them():
    tokens, rows = torch.tensor([5, 6, 5, 7, 5]), torch.tensor([2, 4])
    assert equal_to(tokens[rows], tokens, rows).int().tolist() == [[1, 0, 0, 0, 0], [1, 0, 1, 0, 0]]
    assert equal_to(tokens[rows], tokens, rows, 1).int().tolist() == [[0, 1, 0, 0, 0], [0, 1, 0, 1, 0]]
    shown = torch.tensor([[[0.5, 0.5, 0.0, 0, 0], [0.1, 0.2, 0.3, 0.4, 0]]])
    assert mass_on(shown, equal_to(tokens[rows], tokens, rows)).tolist() == pytest.approx([(0.5 + 0.4) / 2])


def test_razorattention_keeps_induction_and_echo_heads_whole():
    states = with_heads({(1, 0): "before", (0, 1): "copy"}).slice(0, PROMPT)
    cache = begin("razorattention:least=10:shrink=6:sinks=3", states)
    lengths = [[len(head) for head in layer] for layer in cache.kept()]
    assert lengths == [[14, PROMPT], [PROMPT, 14]]  # 3 sinks, a token for the others, 10 newest
    assert cache.kept()[0][0].tolist() == [0, 1, 2, 3, *range(50, 60)]
    figure = cache.seen["retrieval_heads"]
    assert (figure.values, figure.rows) == ((0.5, 0.5, 0.5, 0.5), 2)


def test_razorattentions_token_is_the_mean_of_what_went_and_counts_as_often():
    states = with_heads({(1, 0): "before", (0, 1): "copy"})
    cache = begin("razorattention:least=10:shrink=6:sinks=3", states.slice(0, PROMPT))
    for step in range(PROMPT, PROMPT + 4):
        outs = [cache.attend(i, layer.slice(step, step + 1)) for i, layer in enumerate(states.layers)]
    layer = states.layers[0]
    last = PROMPT + 3  # whose query saw what the step before left: newest 10, of 50 ... 62 those from 53 on
    gone = list(range(3, last - 10))
    keys = torch.cat([layer.keys[0, :3], layer.keys[0, gone].mean(0)[None], layer.keys[0, last - 10 : last + 1]])
    values = torch.cat(
        [layer.values[0, :3], layer.values[0, gone].mean(0)[None], layer.values[0, last - 10 : last + 1]]
    )
    for head in (0, 1):
        weights = torch.exp(keys @ layer.queries[head, last] / 32**0.5)
        weights[3] *= len(gone)
        torch.testing.assert_close(outs[0][head, 0], weights @ values / weights.sum(), atol=3e-3, rtol=3e-3)
    slots = cache.slots[0]
    assert slots.weight[0, 3] == last + 1 - 3 - 10 and slots.counts.tolist() == [14, PROMPT + 4]


def test_fastgen_gives_each_head_the_cheapest_rule_that_recovers_enough():
    states = with_heads({(0, 0): "first", (0, 1): "near", (1, 0): "even", (1, 1): "before"}).slice(0, PROMPT)
    cache = begin("fastgen:special=2:punctuation=0.1:heavy=0.1:window=0.1:recovery=0.8", states)
    rules = cache.retention.budget.rule.tolist()
    assert rules[0] == [4, 1] and rules[1] == [0, 0]  # special tokens; a window; nothing less than everything
    kept = cache.kept()
    assert kept[0][0].tolist() == [0, 1] and len(kept[1][0]) == PROMPT
    near = kept[0][1].tolist()
    assert len(near) == 2 + 18 and near[:2] == [0, 1] and near[-6:] == list(range(54, 60))
    figure = cache.seen["heads_by_rule"]
    assert figure.rows == 2 and figure.values == (0, 0.5, 0, 0, 0.5, 1, 0, 0, 0, 0)


def test_fastgens_marks_are_ends_of_sentences_then_frequent_tokens():
    states = with_heads({}).slice(0, PROMPT)
    tokens = states.tokens.clone()
    tokens[[10, 30, 45]] = 99
    states = replace(states, tokens=tokens, sentences=(8, 21, PROMPT))
    cache = begin("fastgen:special=2:punctuation=0.1", states)
    marks = cache.retention.budget.marks.nonzero()[:, 0].tolist()
    assert {7, 20, 59} <= set(marks) and len(marks) == 6
    often = [sum(int(t == tokens[at]) for t in tokens) for at in range(PROMPT)]
    assert min(often[at] for at in set(marks) - {7, 20, 59}) == max(often)


def test_headkv_ranks_heads_of_all_layers_by_what_they_see_of_the_next_token():
    """A query of token t looks at t's successor, 19 tokens back, which is what comes next."""
    states = with_heads({(1, 1): "before", (0, 0): "near"}).slice(0, PROMPT)
    cache = begin("headkv:capacity=20:window=4:beta=1", states)
    figure, lengths = cache.seen["head_importance"], [[len(head) for head in layer] for layer in cache.kept()]
    assert figure.rows == 2 and figure.values[2] == max(figure.values) > 0.9
    assert lengths[1][1] == PROMPT  # its share of the pool of 4 x 16 is more than is left
    assert lengths[0][0] == 4
    expected = []
    for kv_head in (0, 1):
        masses = []
        for head in group(states.layers[1], kv_head):
            shown, rows = attention(states.layers[1], head), range(19, PROMPT - 1)
            masses.append(sum(float(sum(shown[t, j] for j in range((t + 1) % 20, t, 20))) for t in rows) / len(rows))
        expected.append(sum(masses) / 2 + 1e-6)
    assert figure.values[2:] == pytest.approx(sorted(expected, reverse=True), rel=1e-3)


def test_a_given_profile_says_how_many_heads_and_data_which():
    states = with_heads({(1, 0): "before", (0, 1): "copy"}).slice(0, PROMPT)
    given = {"retrieval_heads": Figure((0.5, 0.5), 0.0, "given")}
    cache = begin("razorattention:least=10:shrink=6:sinks=3", states, profile=given)
    assert [[len(head) for head in layer] for layer in cache.kept()] == [[14, PROMPT], [PROMPT, 14]]


def test_duoattention_keeps_heads_whole_that_look_far():
    states = with_heads({(0, 1): "before", (1, 1): "copy", (1, 0): "near", (0, 0): "first"}).slice(0, PROMPT)
    cache = begin("duoattention:full=0.5:sinks=2:recent=8", states)
    assert [[len(head) for head in layer] for layer in cache.kept()] == [[10, PROMPT], [10, PROMPT]]
    assert cache.kept()[0][0].tolist() == [0, 1, *range(52, 60)]
    alone = begin("duoattention:full=0.25:sinks=2:recent=8", states)
    whole = [(i, h) for i, layer in enumerate(alone.kept()) for h, head in enumerate(layer) if len(head) == PROMPT]
    assert len(whole) == 1 and sorted(alone.seen["retrieval_heads"].values) == [0.0, 2.0]


def test_duoattention_streams_in_blocks_as_step_by_step():
    states = with_heads({(0, 1): "before", (1, 0): "copy"})
    one, two = (begin("duoattention:full=0.5:sinks=2:recent=8", states.slice(0, PROMPT)) for _ in range(2))
    blocks = [one.attend(i, layer.slice(PROMPT, PROMPT + 4)) for i, layer in enumerate(states.layers)]
    steps = [
        [two.attend(i, layer.slice(at, at + 1)) for i, layer in enumerate(states.layers)]
        for at in range(PROMPT, PROMPT + 4)
    ]
    for i, (layer, block) in enumerate(zip(states.layers, blocks, strict=True)):
        torch.testing.assert_close(block, torch.cat([step[i] for step in steps], 1), atol=3e-3, rtol=3e-3)
        at, queries = torch.arange(PROMPT + 4), torch.arange(PROMPT, PROMPT + 4)[:, None]
        near = ((at < 2) | (at > queries - 8)) & (at <= queries)
        seen = torch.stack([near, at <= queries] if i == 0 else [at <= queries, near])
        expected = attend(layer.queries[:, PROMPT:], layer.keys, layer.values, seen, None)[0]
        torch.testing.assert_close(block, expected, atol=3e-3, rtol=3e-3)
