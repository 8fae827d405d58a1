"""What layers hold in common, against what the papers define, written out once more."""

from dataclasses import replace
from math import ceil

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.merged_layers import slerp  # noqa: E402

from .test_bases import HALF, apart  # noqa: E402
from .test_compress import tiny  # noqa: E402
from .test_matrix import check_steps, few_layers  # noqa: E402

COMPOSED = (
    "minicache+kivi:bits=4:group=128",
    "minicache:first=0.25+kivi:residual=32",
    "minicache:first=0+fp8",
    "minicache+think:window=8",
    "minicache+cskv:window=8",
    "minicache+streaming:window=40",
    "minicache+tidaldecode:budget=16",
    "kvsharer:share=0.5+kivi:residual=32",
    "kvsharer:share=0.75+snapkv:capacity=40:window=8",
    "kvsharer:share=0.5+h2o",
    "kvsharer+streaming:window=40",
    "kvsharer:share=0.5+zipcache:gap=4",
    "kvsharer:share=0.5+mikv",
    "kvsharer:share=0.5+less:hidden=32",
    "kvsharer:share=0.5+quest",
    "kvsharer:share=0.5+eigen-attention",
    "xkv:key_rank=20:value_rank=30:group=3",
    "xkv:key_rank=33:value_rank=30:group=2+kivi:bits=4:residual=32",
    "xkv:key_rank=20:value_rank=30+fp8",
)


def after(cache, whole, start: int, stop: int, block: int = 1) -> None:
    """Attends from the tokens start to stop."""
    for at in range(start, stop, block):
        for i, layer in enumerate(whole.layers):
            cache.attend(i, layer.slice(at, at + block))
    cache.stored_bytes()


@pytest.mark.parametrize("text", COMPOSED)
def test_bytes_of_compositions(text: str) -> None:
    model = few_layers("llama-3-8b")
    for prompt in (7, 31, 32, 33, 100):
        check_steps(text, made_up(model, prompt + 3, seed=prompt), prompt)


def test_slerp_at_a_right_angle_and_of_equal_directions() -> None:
    one, other = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 5.0], [6.0, 8.0]])
    between, angle = slerp(one, other, 0.6)
    turned = torch.tensor(0.6 * torch.pi / 2)
    torch.testing.assert_close(between[0], torch.stack([turned.cos(), turned.sin()]))
    torch.testing.assert_close(between[1], torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(angle, torch.tensor([torch.pi / 2, 0.0]))


def alike_pair(states, scales):
    """States whose last layer is the one before it, each token and head times a number of its own."""
    last = states.layers[-2]
    sized = [x * scales for x in (last.keys, last.raw_keys, last.values)]
    return replace(
        states,
        layers=(*states.layers[:-1], replace(last, keys=sized[0], raw_keys=sized[1], values=sized[2])),
    )


def test_merging_equal_directions_loses_nothing_but_rounding() -> None:
    whole = made_up(tiny(4), 60)
    scales = 0.5 + torch.rand(2, 60, 1, generator=torch.Generator().manual_seed(1))
    states = alike_pair(whole, scales)
    cache = begin("minicache", states)
    for layer, read in zip(states.layers, cache.read, strict=True):
        assert apart(read.key, layer.keys) < 2 * HALF and apart(read.value, layer.values) < 2 * HALF


def test_minicache_row_by_row() -> None:
    """Merged tokens point where the interpolation does, with each layer's length; the most unlike are whole."""
    states = made_up(tiny(4), 50)
    cache = begin("minicache", states)
    share = cache.seen["retained_tokens"].mean
    one, other = states.layers[2], states.layers[3]
    retained = 0
    for head in range(2):
        angles = []
        for at in range(50):
            pairs = [(getattr(one, x)[head, at], getattr(other, x)[head, at]) for x in ("keys", "values")]
            angles.append(sum(float(torch.acos(a @ b / a.norm() / b.norm())) for a, b in pairs))
        whole = sorted(range(50), key=lambda at: -angles[at])[: ceil(50 * share)]
        retained += len(whole)
        for at in range(50):
            for layer, mine in ((2, one), (3, other)):
                read = cache.read[layer].key[head, at]
                if at in whole:
                    assert apart(read, mine.keys[head, at]) < HALF
                    continue
                a, b = (x.keys[head, at] / x.keys[head, at].norm() for x in (one, other))
                angle = torch.acos(a @ b)
                unit = ((0.4 * angle).sin() * a + (0.6 * angle).sin() * b) / angle.sin()
                assert apart(read, unit * mine.keys[head, at].norm()) < 2 * HALF
    assert 0 < retained < 50
    assert torch.equal(cache.read[0].key, states.layers[0].keys.half().float())


def test_the_share_of_retained_tokens_is_that_of_angles_near_the_largest() -> None:
    whole = made_up(tiny(4), 40)
    states = alike_pair(whole, torch.ones(2, 40, 1))
    odd = states.layers[3].keys.clone()
    odd[0, 5] *= -1  # two of 80 head-tokens point the other way
    odd[1, 9] *= -1
    states = replace(states, layers=(*states.layers[:3], replace(states.layers[3], keys=odd)))
    cache = begin("minicache", states)
    assert cache.seen["retained_tokens"].mean == 2 / 80
    kept = ceil(40 * 2 / 80)
    assert cache.rows[3][-1].tolist() == [5, 9] and kept == 1


def test_a_merged_token_stays_merged() -> None:
    whole = made_up(tiny(4), 90)
    cache = begin("minicache", whole.slice(0, 60), profile=None)
    before = cache.rows[3][-1].tolist()
    after(cache, whole, 60, 90, block=10)
    now = cache.rows[3][-1].tolist()
    assert set(before) <= set(now) and all(at in before or at >= 60 for at in now)


def test_kvsharer_ties_the_most_unlike_layers() -> None:
    states = made_up(tiny(4), 40)
    lengths = {}
    for later in range(4):
        for earlier in range(later):
            a, b = states.layers[later], states.layers[earlier]
            lengths[later, earlier] = sum(
                float((x - y).norm(dim=-1).mean()) / 2 for x, y in ((a.keys, b.keys), (a.values, b.values))
            )
    (later, earlier), _ = max(lengths.items(), key=lambda item: item[1])
    cache = begin("kvsharer:share=0.25", states)
    assert [cache.sharing.holder(i) for i in range(4)] == [earlier if i == later else i for i in range(4)]
    assert cache.rows[later] == [] and torch.equal(cache.read[later].key, cache.read[earlier].key)
    assert cache.kept()[later][0].tolist() == cache.kept()[earlier][0].tolist()


def test_a_tie_that_turns_the_model_around_is_passed_over() -> None:
    """A layer whose values point the other way answers the opposite, however unlike it is."""
    states = made_up(tiny(3), 40)
    first = states.layers[0]
    other = replace(first, keys=first.keys, values=-9 * first.values, before=None)
    close = replace(first, keys=first.keys * 1.01, raw_keys=first.raw_keys * 1.01)
    cache = begin("kvsharer:share=0.34", replace(states, layers=(first, close, other)))
    assert [cache.sharing.holder(i) for i in range(3)] == [0, 0, 2]


def test_a_tied_layer_follows_the_one_that_it_reads_through_evictions() -> None:
    whole = made_up(tiny(4), 60)
    cache = begin("kvsharer:share=0.5+h2o:heavy=0.2:recent=0.2", whole.slice(0, 50))
    after(cache, whole, 50, 60)
    tied = [i for i in range(4) if cache.sharing.holder(i) != i]
    assert len(tied) == 2
    for layer in tied:
        assert torch.equal(cache.slots[layer].position, cache.slots[cache.sharing.holder(layer)].position)


def test_xkv_at_full_rank_loses_nothing_but_rounding() -> None:
    whole = made_up(tiny(5), 90)
    cache = begin("xkv:key_rank=4096:value_rank=4096:group=2", whole.slice(0, 80))
    after(cache, whole, 80, 90)
    for layer, read in zip(whole.layers, cache.read, strict=True):
        assert apart(read.key, layer.keys) < 2 * HALF and apart(read.value, layer.values) < 2 * HALF


def test_xkv_is_the_truncated_decomposition_of_a_group_before_rotary_embedding() -> None:
    whole = made_up(tiny(4), 70)
    cache = begin("xkv:key_rank=24:value_rank=16:group=2", whole.slice(0, 60))
    after(cache, whole, 60, 63)
    for start in (0, 2):
        group = whole.layers[start : start + 2]
        wide = torch.cat([head[:60] for layer in group for head in layer.raw_keys], 1)
        u, s, v = torch.linalg.svd(wide, full_matrices=False)
        best = (u[:, :24] * s[:24]) @ v[:24]
        reads = cache.read[start : start + 2]
        raw = torch.cat([head for one in reads for head in cache.basis.raw(one.key, one.position)[:, :60]], 1)
        assert apart(raw, best) < 3 * HALF
        for layer, read in zip(group, reads, strict=True):
            assert apart(read.key[:, 60:], layer.keys[:, 60:63]) < HALF  # generated tokens stay as they are
    assert cache.rows[1][0].numel() == 3 * 64 and cache.rows[0][0].numel() == 60 * 24
    assert [x.shape for x in cache.basis.held(1, cache.slots[1])] == [(64, 24), (64, 16)]
