"""Reading with the full cache, and through a policy's."""

import torch

from kernels_ref.quality.loop import Loop
from kernels_ref.quality.prompt import _Layers, read_under
from kernels_ref.quality.recorder import Recorder, sentence_ends
from kernels_ref.quality.run import joined, prepared, score
from kernels_ref.quality.texts import Passage
from kernels_ref.twins.cache import begin
from kvsim.traits.policy import policy
from tests.kernels_ref.quality.tiny import language

IDS = tuple((17 * i * i + 3 * i) % 251 for i in range(150))


def read(tiny, ids, *past):
    with torch.no_grad():
        return Recorder(tiny, past).read(tiny.ids(ids))


def test_a_text_in_two_parts_is_the_text_at_once():
    tiny = language()
    whole, one = read(tiny, IDS), read(tiny, IDS[:100])
    two = read(tiny, IDS[100:], one.states)
    torch.testing.assert_close(torch.cat([one.logits, two.logits]), whole.logits, atol=1e-4, rtol=1e-4)
    for a, b in zip(joined(one.states, two.states).layers, whole.states.layers, strict=True):
        for name in ("queries", "keys", "raw_keys", "values", "hidden", "before"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-4, rtol=1e-4)
    assert two.states.first == 100 and len(two.states) == 50


def test_what_is_recorded_is_what_the_decoder_computes():
    """The residual stream, its norm, and projections of it give the recorded rows."""
    tiny = language()
    states = read(tiny, IDS).states
    for layer, found in zip(tiny.decoder.weights.layers, states.layers, strict=True):
        norm = found.before * torch.rsqrt(found.before.square().mean(-1, keepdim=True) + 1e-5) * layer.attention_norm
        torch.testing.assert_close(found.hidden, norm, atol=1e-5, rtol=1e-5)
    keys = states.layers[1].hidden @ states.projections[1].key.T
    torch.testing.assert_close(states.layers[1].raw_keys, keys.view(150, 3, 16).transpose(0, 1), atol=1e-5, rtol=1e-5)


def test_the_full_cache_in_the_loop_changes_nothing_but_by_16_bits():
    tiny = language()
    ready = prepared(tiny, Passage("made up", IDS[:100], IDS[100:]))
    scores, stored = score(tiny, ready, policy("full"))
    assert scores.error < 2e-3 and scores.kl < 1e-4 and scores.kept_mass == 1.0
    assert stored.share == 1.0 and stored.kept == 100 and stored.notes == ()


def test_a_policy_that_looks_at_each_step_reads_token_by_token():
    tiny = language()
    prompt = read(tiny, IDS[:100]).states
    with torch.no_grad():
        cache = begin("h2o", prompt)
        logits = Loop(tiny, cache, 100).read(tiny.ids(IDS[100:110]))
    assert cache.stepwise and logits.shape == (10, 256)
    assert cache.context == [110, 110]


def test_both_passes_begin_from_the_same_cache():
    """The first continuation leaves the second's cache as it was."""
    tiny = language()
    ready = prepared(tiny, Passage("made up", IDS[:100], IDS[100:]))
    first, again = (score(tiny, ready, policy("h2o:heavy=0.2:recent=0.2")) for _ in range(2))
    assert first == again
    assert 0 < first[0].error < 1.5 and 0.3 < first[0].kept_mass < 1


def test_layer_by_layer_is_the_decoder():
    """With every token passing, and among all of them, the rows are the full cache's."""
    tiny = language()
    dense = read(tiny, IDS).states
    layers = _Layers(tiny, dense.tokens)
    everyone = torch.ones(150, dtype=torch.bool)
    with torch.no_grad():
        for i, layer in enumerate(dense.layers):
            found = layers.run(i, torch.arange(150), lambda _, i=i: everyone if i else None)
            torch.testing.assert_close(found.keys, layer.keys, atol=1e-4, rtol=1e-4)


def test_tokens_that_stop_are_not_computed_on():
    """FastKV: from its layer on, chosen tokens see each other alone, unlike the full cache's rows of them."""
    tiny, fast = language(4), policy("fastkv:capacity=40:tokens=60:layer=0.5")
    dense = read(tiny, IDS).states
    with torch.no_grad():
        found = read_under(tiny, dense, fast)
    counts = [layer.keys.shape[1] for layer in found.layers]
    assert counts[0] == 150 and counts[-1] == 60
    last = found.layers[-1]
    assert not torch.allclose(last.keys, dense.layers[-1].keys[:, last.position], atol=1e-3)
    assert read_under(tiny, dense, policy("snapkv")) is dense


def test_sentences_end_where_they_do():
    tiny = language()
    assert sentence_ends(tiny, tiny.tokens("Ab. C!\nDe")) == (3, 6, 7, 9)
