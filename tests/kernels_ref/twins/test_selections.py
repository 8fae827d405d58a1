"""Selections against definitions written out in loops: pages, persistent positions, sentences, frames, local sums."""

import math

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.choosing import filled, packed, spread  # noqa: E402
from kernels_ref.twins.compress import compress  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.slots import Slots  # noqa: E402
from tests.kernels_ref.twins.test_matrix import few_layers  # noqa: E402

MODEL = few_layers("llama-3-8b")  # 4 layers, 8 query heads, 2 kv heads of 32 channels
GROUP, DIM = 4, 32


def states(tokens=100, seed=0):
    return made_up(MODEL, tokens, seed)


def chosen(text, whole, prompt, layers=4):
    """(cache, its choice by layer) for the tokens behind a prompt."""
    cache = begin(text, whole.slice(0, prompt))
    found = []
    for i, layer in enumerate(whole.slice(prompt, len(whole)).layers[:layers]):
        found.append(cache.selection.chosen(i, layer.queries, cache.read[i]))
    return cache, found


@pytest.mark.parametrize(
    "text",
    ["quest:budget=992", "clusterkv:budget=999:each=8:window=32:dense_layers=0", "tidaldecode:budget=999:first=0",
     "a2ats:share=1:codewords=8", "sentencekv:budget=999",
     "instinfer:channels=0.25:tokens=1"],
)  # fmt: skip
def test_a_budget_for_everything_reads_everything(text) -> None:
    whole = states()
    got, full = (compress(name, whole.slice(0, 92), whole.slice(92, 100)).outputs for name in (text, "full"))
    for one, other in zip(got, full, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_alisa_may_read_everything() -> None:
    _, found = chosen("alisa:share=1:group=32", states(93), 92)
    assert all(one.all() for one in found)


def test_filled_takes_units_by_score_and_cuts_the_last() -> None:
    unit = torch.tensor([[0, 1, 1, -1, 2, 0, 2]])
    scores = torch.tensor([[[1.0, 3.0, 2.0], [5.0, -math.inf, 4.0]]])
    assert filled(scores, unit, 3)[0].int().tolist() == [[0, 1, 1, 0, 1, 0, 0], [1, 0, 0, 0, 1, 1, 0]]
    assert filled(scores, unit, 99)[0].int().tolist() == [[1, 1, 1, 0, 1, 1, 1], [1, 0, 0, 0, 1, 1, 1]]


def test_slots_with_gaps_are_packed_and_choices_spread_again() -> None:
    rows = torch.arange(5.0)[None, :, None].expand(2, -1, 3)
    slots = Slots.of(torch.arange(5), rows, rows).take(torch.tensor([[0, -1, 2, 4], [-1, 1, -1, 3]]))
    tight, index = packed(slots)
    assert tight.position.tolist() == [[0, 2, 4], [1, 3, -1]]
    found = torch.tensor([[[True, False, True]], [[False, True, False]]])
    assert spread(found, index, 4).int().tolist() == [[[1, 0, 0, 1]], [[0, 0, 0, 1]]]


def test_quest_reads_the_pages_of_highest_bound_and_the_newest() -> None:
    whole = states()
    cache, found = chosen("quest:page=8:budget=24:dense_layers=2", whole, 92)
    assert found[0] is None and found[1] is None
    keys, queries = cache.read[3].key, whole.layers[3].queries[:, 92:]
    for head in range(2):
        for n in range(8):
            bounds = []
            for page in range(12):
                rows = keys[head, page * 8 : page * 8 + 8]
                low, high = rows.min(0).values, rows.max(0).values
                mine = queries[head * GROUP : head * GROUP + GROUP, n]
                bounds.append(float(torch.maximum(mine * low, mine * high).sum()))
            best = sorted(range(11), key=lambda page: -bounds[page])[:2]
            read = sorted(t for page in (*best, 11) for t in range(page * 8, min(92, page * 8 + 8)))
            assert found[3][head, n].nonzero()[:, 0].tolist() == read


def test_tidaldecode_reuses_what_a_layer_found() -> None:
    whole = states()
    cache, found = chosen("tidaldecode:budget=5:first=1:again=3", whole, 92)
    assert found[0] is None and found[1] is None and found[3] is None
    keys, queries = cache.read[1].key, whole.layers[1].queries[:, 92:]
    for head in range(2):
        for n in range(8):
            mine = queries[head * GROUP : head * GROUP + GROUP, n]
            shares = (mine @ keys[head].T / DIM**0.5).softmax(-1).sum(0)
            assert found[2][head, n].nonzero()[:, 0].tolist() == sorted(shares.topk(5).indices.tolist())


def test_sentencekv_reads_the_sentences_of_nearest_mean_key() -> None:
    """Every token of the prompt is a candidate: 9 sentences of 11 tokens (the last of 4), 4 and 4 are always read."""
    whole = states()
    cache, found = chosen("sentencekv:budget=15:factor=99:start=4:recent=4:window=6", whole, 92)
    assert cache.seen["sentence_tokens"].mean == pytest.approx(92 / 9)
    keys, queries = cache.read[2].key, whole.layers[2].queries[:, 92:]
    for head in range(2):
        means = torch.stack([keys[head, start : min(92, start + 11)].mean(0) for start in range(0, 92, 11)])
        for n in range(8):
            scores = queries[head * GROUP : head * GROUP + GROUP, n].sum(0) @ means.T
            read = []
            for sentence in scores.argsort(descending=True).tolist():
                read += [t for t in range(sentence * 11, min(92, sentence * 11 + 11)) if 4 <= t < 88]
            assert found[2][head, n].nonzero()[:, 0].tolist() == sorted([*range(4), *read[:15], *range(88, 92)])


def test_sentencekv_begins_sentences_of_generated_tokens() -> None:
    """92 tokens in 9 sentences: the 93rd to the 102nd begin and fill the tenth, as many as a sentence has."""
    whole = states(110)
    cache = begin("sentencekv:budget=15:factor=99:start=4:recent=4:window=6", whole.slice(0, 92))
    for i, layer in enumerate(whole.layers):
        cache.attend(i, layer.slice(92, 110))
    found, many = cache.selection.sentences(0, cache.slots[0])
    assert found[0, 92:102].tolist() == [9] * 10 and found[0, 103].item() == 10
    assert many.tolist() == [11, 11]


def test_rekv_recalls_frames_once_for_the_question() -> None:
    from kernels_ref.twins.frames import NearestFrames
    from kernels_ref.twins.part import Setting
    from kernels_ref.twins.retention import all_of
    from kvsim.traits.frames import Frames
    from kvsim.traits.policy import policy

    whole = states()
    part = NearestFrames(Frames(2, 10, 5, first=3), Setting(policy("full"), MODEL, 95))
    part.prepare(whole.slice(0, 95), [all_of(layer) for layer in whole.slice(0, 95).layers])
    layer = whole.layers[1].slice(0, 95)
    asked = layer.queries[:, -8:].mean(1).reshape(2, GROUP, DIM).mean(1).flatten()  # 8 tokens are the question
    frames = [layer.keys[:, t : t + 10].mean(1).flatten() for t in range(0, 90, 10)]
    cosines = [float(torch.cosine_similarity(asked, frame, dim=0)) for frame in frames]
    best = sorted(range(9), key=lambda frame: -cosines[frame])[:2]
    read = sorted({t for frame in best for t in range(frame * 10, frame * 10 + 10)} | {0, 1, 2, *range(90, 95)})
    found = part.chosen(1, layer.queries[:, :3], all_of(layer))
    assert found.shape == (2, 3, 95) and all(one.nonzero()[:, 0].tolist() == read for one in found.flatten(0, 1))


def test_alisa_reads_the_newest_and_those_of_largest_recent_sums() -> None:
    whole = states()
    cache = begin("alisa:share=0.2:window=3:group=32", whole.slice(0, 97))
    rows = []
    for query in range(94, 97):  # the prompt's last three, which saw everything
        shares = []
        for head in range(8):
            keys = whole.layers[2].keys[head // GROUP, : query + 1]
            shares.append((whole.layers[2].queries[head, query] @ keys.T / DIM**0.5).softmax(-1))
        padded = [torch.nn.functional.pad(one, (0, 97 - len(one))) for one in shares]
        rows.append(torch.stack(padded).reshape(2, GROUP, 97).sum(1))
    for step in range(3):
        count = 97 + step
        many = math.ceil((count + 1) * 0.2)
        newest = many - many // 2 - 1
        for i, layer in enumerate(whole.layers):
            if i == 2:
                found = cache.selection.chosen(2, layer.queries[:, count : count + 1], cache.read[2])
                sums = sum(torch.nn.functional.pad(one, (0, count - one.shape[1])) for one in rows[-3:])
                for head in range(2):
                    best = sums[head, : count - newest].topk(many // 2).indices.tolist()
                    assert found[head, 0].nonzero()[:, 0].tolist() == sorted([*best, *range(count - newest, count)])
            cache.attend(i, layer.slice(count, count + 1))
        rows.append(cache.last[2].probabilities[:, 0].reshape(2, GROUP, -1).sum(1))
