"""Votes of a window: kept positions against definitions written out here."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kernels_ref.twins.votes import by_block  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402

from .naive import attention, group, top  # noqa: E402
from .test_compress import tiny  # noqa: E402

PROMPT = 90


@pytest.fixture(scope="module")
def states():
    return made_up(tiny(), PROMPT, seed=3)


def votes(layer, kv_head: int, window: int) -> list[float]:
    """Attention of the last queries, summed over them and the heads of a group."""
    shown = sum(attention(layer, head)[-window:].sum(0) for head in group(layer, kv_head))
    return shown.tolist()


def pooled(values: list[float], pool: int) -> list[float]:
    """Means of each value and its neighbours; outside there are zeros."""
    half = pool // 2
    return [sum(values[max(0, i - half) : i + half + 1]) / pool for i in range(len(values))]


def test_snapkv_keeps_what_the_last_queries_look_at(states):
    kept = begin("snapkv:capacity=30:window=6", states).kept()
    for layer, heads in zip(states.layers, kept, strict=True):
        for kv_head, head in enumerate(heads):
            before = pooled(votes(layer, kv_head, 6)[: PROMPT - 6], 5)
            assert head.tolist() == [*top(dict(enumerate(before)), 24), *range(PROMPT - 6, PROMPT)]


def test_snapkv_keeps_a_prompt_that_fits(states):
    for prompt in (5, 6, 29, 30):
        kept = begin("snapkv:capacity=30:window=6", states.slice(0, prompt)).kept()
        assert all(head.tolist() == list(range(prompt)) for layer in kept for head in layer)


def test_pyramidkv_chooses_as_snapkv_with_its_own_budgets(states):
    cache = begin("pyramidkv:capacity=30:window=6", states)
    lengths = [[len(head) for head in layer] for layer in cache.kept()]
    assert lengths[0][0] == lengths[0][1] > lengths[1][0] and sum(map(sum, lengths)) <= 4 * 30
    for i, layer in enumerate(states.layers):
        before = pooled(votes(layer, 1, 6)[: PROMPT - 6], 7)
        assert cache.kept()[i][1].tolist()[:-6] == top(dict(enumerate(before)), lengths[i][1] - 6)


def test_windowkv_keeps_whole_blocks_and_layers_share_a_choice():
    states = made_up(tiny(4), PROMPT, seed=4)
    text = "windowkv:capacity=38:window=6:block=8:shared_layers=2:beta=1"
    kept = begin(text, states).kept()
    scores = votes(states.layers[2], 0, 6)[: PROMPT - 6]
    means = [sum(block) / len(block) for block in (scores[start : start + 8] for start in range(0, PROMPT - 6, 8))]
    by_token = {at: means[at // 8] for at in range(PROMPT - 6)}
    assert kept[2][0].tolist() == [*top(by_token, len(kept[2][0]) - 6), *range(PROMPT - 6, PROMPT)]
    assert kept[2][0].tolist() == kept[3][0].tolist() and kept[0][0].tolist() == kept[1][0].tolist()
    assert kept[0][0].tolist() != kept[2][0].tolist()


def test_blocks_are_means():
    assert by_block(torch.tensor([[1.0, 3.0, 5.0, 7.0, 9.0]]), 2).tolist() == [[2.0, 2.0, 6.0, 6.0, 9.0]]


def test_cake_adds_variance_to_the_mean(states):
    """gamma 0 ranks by means alone; with gamma the list differs, and is that of mean + gamma x variance."""
    for gamma in (0.0, 50.0):
        cache = begin(f"cake:capacity=30:window=6:gamma={gamma}", states)
        for i, layer in enumerate(states.layers):
            shown = torch.stack([attention(layer, head)[-6:] for head in group(layer, 0)])
            scores = (shown.mean(1) + gamma * shown.var(1)).mean(0).tolist()[: PROMPT - 6]
            kept = cache.kept()[i][0].tolist()
            assert kept[:-6] == top(dict(enumerate(pooled(scores, 5))), len(kept) - 6)


def test_kvcrush_keeps_pages_of_importance_and_one_page_of_each_bucket():
    """Pages of 2 tokens, one query head: 12 pages that may go, room for 3 by votes and 2 buckets of the other 9."""
    one = policy("kvcrush:capacity=16:page=2:sinks=2:recent=4:share=0.25:window=2:anchor=zeros")
    model = tiny(1).model_copy(update={"heads": 1, "kv_heads": 1})
    setting = Setting(one, model, 30)
    bits = part(one.retention.scorer, setting)
    mass = torch.tensor([9, 8, 1, 0, 7, 6, 1, 1, 5, 0, 2, 2, 5, 5, 0, 0, 6, 0, 3, 3, 0, 4, 1, 2]).float()
    rank = bits._by_page(0, mass[None], 10)  # 16 - 2 sinks - 4 newest, of which 4 // 2 = 2 pages stand for buckets
    best_half = mass.topk(12).indices
    ones = [sum(int(2 * page + i in best_half) for i in range(2)) for page in range(12)]
    important = {0, 2, 6}  # sums 17, 13, 10
    left = [page for page in range(12) if page not in important]
    far = sorted(left, key=lambda page: (ones[page], page))  # distance to zeros: how many bits are ones
    stay = important | {far[0], far[4]}  # buckets of the first four and the other five
    found = {at // 2 for at in rank.topk(10).indices.tolist()}
    assert found == stay


def test_kvcrush_keeps_heads_together_in_pages(states):
    kept = begin("kvcrush:capacity=48:page=8:sinks=8:recent=16", states).kept()
    for layer in kept:
        assert layer[0].tolist() == layer[1].tolist()
        positions = layer[0].tolist()
        assert positions[:8] == list(range(8)) and positions[-16:] == list(range(PROMPT - 16, PROMPT))
        middle = [at for at in positions if 8 <= at < 72]  # pages that end before the newest 16 begin
        whole = [page for page in range(1, 9) if sum(at // 8 == page for at in middle) == 8]
        assert len(middle) - 8 * len(whole) < 8  # at most one page is broken, to fill the capacity
