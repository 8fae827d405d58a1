"""Prefill methods on worked cases, and in the loop of a decoder that computes layers itself."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kernels_ref.twins.prefill import AllPass, read_prompt  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402
from tests.kernels_ref.twins.test_matrix import few_layers  # noqa: E402

MODEL = few_layers("llama-3-8b")  # 4 layers, 8 query heads, 2 kv heads
GROUP, DIM = 4, 32


def shares(layer, queries, keys=None):
    """[H, n, T] of causal attention, written out head by head."""
    total = layer.keys.shape[1]
    found = torch.zeros(8, len(queries), total)
    for head in range(8):
        for i, query in enumerate(queries):
            scores = layer.queries[head, query] @ layer.keys[head // GROUP, : query + 1].T / DIM**0.5
            found[head, i, : query + 1] = scores.softmax(-1)
    return found


def positions(text, whole, **more):
    """By layer, positions of the rows that reached it."""
    read = begin(text, whole, **more)
    return [sorted({int(p) for head in layer for p in head}) for layer in read.kept()]


def prefill_of(text, whole, **more):
    setting = Setting(policy(text), MODEL, len(whole), **more)
    return part(setting.policy.prefill, setting)


def test_fastkv_sends_on_what_the_window_attends_to() -> None:
    whole = made_up(MODEL, 60)
    found = prefill_of("fastkv:capacity=20:window=4:pool=1:tokens=30", whole).read(whole)
    votes = shares(whole.layers[1], range(56, 60)).sum(1).mean(0)
    best = sorted([*votes[:56].topk(26).indices.tolist(), *range(56, 60)])
    assert [layer.keys.shape[1] for layer in found.layers] == [60, 60, 30, 30]
    assert found.layers[2].position.tolist() == found.layers[3].position.tolist() == best
    assert torch.equal(found.layers[3].values, whole.layers[3].values[:, best])


def test_what_a_cache_keeps_was_sent_on() -> None:
    whole = made_up(MODEL, 60)
    text = "fastkv:capacity=20:window=4:tokens=30"
    on = set(prefill_of(text, whole).read(whole).layers[3].position.tolist())
    kept = begin(text, whole).kept()
    assert all(set(head.tolist()) <= on and len(head) == 20 for layer in kept[2:] for head in layer)
    assert any(set(head.tolist()) - on for layer in kept[:2] for head in layer)


def test_a_decoder_computes_what_the_hooks_leave() -> None:
    """A layer is asked for the tokens that the one before sent on, and its states go to the hooks."""
    whole, asked = made_up(MODEL, 60), []

    def run(layer, at, among):
        asked.append(at.tolist())
        states = whole.layers[layer].take(at)
        assert among(states) is None
        return states

    method = prefill_of("fastkv:capacity=20:window=4:tokens=30", whole)
    read = read_prompt(method, whole, run)
    assert [len(at) for at in asked] == [60, 60, 30, 30] and asked[2] == read.layers[2].position.tolist()
    one, other = (begin("fastkv:capacity=20:window=4:tokens=30", x) for x in (read, whole))
    assert one.stored_bytes() == other.stored_bytes()
    for a, b in zip(one.kept(), other.kept(), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_nothing_is_left_out_by_default() -> None:
    whole = made_up(MODEL, 20)
    read = prefill_of("full", whole).read(whole)
    assert all(a is b for a, b in zip(read.layers, whole.layers, strict=True))


def test_pyramidinfer_sends_on_what_the_newest_agree_on() -> None:
    """60 tokens, 12 and the last are the newest; the released code's lengths."""
    whole = made_up(MODEL, 60)
    read = prefill_of("pyramidinfer:least=4:decay=0.5", whole).read(whole)
    lengths = policy("pyramidinfer:least=4:decay=0.5").retention.lengths(torch.tensor([60]).numpy(), 4)[:, 0]
    assert [layer.keys.shape[1] for layer in read.layers] == lengths.tolist() and lengths[3] < lengths[1]
    weights = torch.linspace(1, 1.2, 13)[:, None]
    votes = (shares(whole.layers[0], range(47, 60)).mean(0) * weights).mean(0)
    if lengths[1] < 60:
        best = sorted([*votes[:47].topk(lengths[1] - 13).indices.tolist(), *range(47, 60)])
        assert read.layers[1].position.tolist() == best
    for before, after in zip(read.layers, read.layers[1:], strict=False):
        at = torch.arange(60) if before.position is None else before.position
        if after.position is not None:
            assert set(after.position.tolist()) <= set(at.tolist())


def test_specpc_reads_what_its_draft_attends_to_with_neighbours() -> None:
    whole = made_up(MODEL, 60)
    text = "specpc:tokens=20:window=6:pool=3:neighbours=3:first=2"
    read = prefill_of(text, whole).read(whole)
    scores = torch.zeros(60)
    for layer in whole.layers[2:]:
        seen = shares(layer, range(54, 60)) * torch.linspace(0, 1, 6)[:, None]
        scores = torch.maximum(scores, seen.amax((0, 1)))
    smooth = torch.stack([scores[max(0, t - 1) : t + 2].max() for t in range(60)])
    order = list(range(54, 60))
    for token in smooth.topk(20).indices.tolist():
        for near in (token, token - 1, token + 1):
            if min(max(near, 0), 59) not in order:
                order.append(min(max(near, 0), 59))
    assert all(layer.position.tolist() == sorted(order[:20]) for layer in read.layers)
    assert positions(text, whole) == [sorted(order[:20])] * 4


def test_a_short_prompt_is_read_whole_by_specpc() -> None:
    whole = made_up(MODEL, 20)
    assert positions("specpc:tokens=20:window=6", whole) == [list(range(20))] * 4


def test_finch_carries_on_what_the_question_attends_to() -> None:
    """48 document tokens by 16, 12 of which stay in the end: 4 after the first chunk, 8 after the second."""
    whole = made_up(MODEL, 52)
    read = prefill_of("finch:capacity=12:chunk=16:question=4", whole).read(whole)
    layer, kept = whole.layers[2], []
    for start, many in ((0, 4), (16, 8), (32, 12)):
        here = [*kept, *range(start, start + 16)]
        sums = torch.zeros(len(here))
        for head in range(8):
            for query in range(48, 52):
                keys = layer.keys[head // GROUP, [*here, *range(48, query + 1)]]
                sums += (layer.queries[head, query] @ keys.T / DIM**0.5).softmax(-1)[: len(here)]
        kept = sorted(here[i] for i in sums.topk(many).indices.tolist())
    found = read.layers[2]
    assert found.position.tolist() == [*kept, 48, 49, 50, 51]
    moved = rotate(layer.raw_keys[:, kept], torch.arange(36, 48), whole.turns)
    assert torch.allclose(found.keys[:, :12], moved) and torch.equal(found.keys[:, 12:], layer.keys[:, 48:])
    assert torch.equal(found.values[:, :12], layer.values[:, kept])
    assert positions("finch:capacity=12:chunk=16:question=4", whole)[2] == found.position.tolist()


def test_kv_prediction_maps_an_earlier_layer() -> None:
    """Layers 2 and 3 of 4 by a half of the layers are maps of layer 1; where a map exists it is found."""
    whole = made_up(MODEL, 300)
    keys = whole.layers[1].raw_keys.transpose(0, 1).flatten(1)
    turn = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)) / 8
    made = (keys @ turn).reshape(300, 2, DIM).transpose(0, 1)
    from dataclasses import replace

    last = replace(whole.layers[3], raw_keys=made)
    states = replace(whole, layers=(*whole.layers[:3], last))
    read = prefill_of("kv-prediction:layers=0.5", states).read(states)
    assert torch.allclose(read.layers[3].raw_keys, made, atol=0.05)
    assert torch.allclose(read.layers[3].keys, rotate(read.layers[3].raw_keys, torch.arange(300), whole.turns))
    assert torch.allclose(read.layers[1].values, states.layers[1].values, atol=0.05)
    off = (read.layers[2].values - whole.layers[2].values).norm() / whole.layers[2].values.norm()
    assert 0 < off < 1  # trained on the prompt itself, no worse than nothing
    other = prefill_of("kv-prediction:layers=0.5", states, calibration=made_up(MODEL, 300, seed=9)).read(states)
    assert not torch.allclose(other.layers[2].values, read.layers[2].values)


def test_zipvl_attends_among_the_fewest_tokens_that_hold_the_threshold() -> None:
    whole = made_up(MODEL, 60)
    method = prefill_of("zipvl:threshold=0.6:queries=20", whole)
    found = method.among(1, whole.layers[1])
    probes = method.kept.probes(1, 60).tolist()
    seen = shares(whole.layers[1], probes).mean(0).sum(0)
    many = next(n for n in range(1, 61) if seen.topk(n).values.sum() >= 0.6 * seen.sum() * (1 - 1e-6))
    mean = seen / torch.tensor([sum(probe >= token for probe in probes) for token in range(60)])
    assert found.nonzero()[:, 0].tolist() == sorted(mean.topk(many).indices.tolist())


def test_the_null_method_has_every_hook() -> None:
    whole = made_up(MODEL, 10)
    method = AllPass(None, Setting(policy("full"), MODEL, 10))
    assert method.before(whole.tokens) is None and method.after(0, whole.layers[0], torch.arange(10)) is None
    assert method.among(0, whole.layers[0]) is None
