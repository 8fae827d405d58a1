"""ClusterKV's clusters and A2ATS's codewords on keys whose groups are plain to see."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.clusters import k_means  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402
from tests.kernels_ref.twins.test_matrix import few_layers  # noqa: E402

MODEL = few_layers("llama-3-8b")
GROUP = 4


def test_k_means_finds_directions_whatever_their_length() -> None:
    axes = torch.eye(8)[:3]
    label = torch.randint(0, 3, (60,), generator=torch.Generator().manual_seed(0))
    keys = axes[label] * torch.linspace(1, 9, 60)[:, None] + 1e-3 * torch.randn(
        60, 8, generator=torch.Generator().manual_seed(1)
    )
    for seed in range(20):  # three starts in three groups: then one step is enough
        found, centroid = k_means(keys[None], 3, 20, torch.Generator().manual_seed(seed))
        if len(found[0].unique()) == 3 and all(len(label[found[0] == c].unique()) == 1 for c in range(3)):
            break
    else:
        pytest.fail("no start found the three groups")
    for c in range(3):
        assert torch.allclose(centroid[0, c], keys[found[0] == c].mean(0), atol=1e-5)


def test_each_key_is_in_the_cluster_of_nearest_centroid() -> None:
    keys = torch.randn(2, 100, 16, generator=torch.Generator().manual_seed(0))
    label, centroid = k_means(keys, 5, 50, torch.Generator().manual_seed(0))
    for head in range(2):
        for n in range(100):
            cosines = torch.cosine_similarity(keys[head, n], centroid[head], dim=1)
            assert int(cosines.argmax()) == int(label[head, n])


def test_clusterkv_reads_best_clusters_sinks_and_the_open_window() -> None:
    whole = made_up(MODEL, 108)
    text = "clusterkv:budget=20:sinks=4:each=8:window=32:dense_layers=1"
    cache = begin(text, whole.slice(0, 100))
    assert cache.selection.chosen(0, whole.layers[0].queries[:, 100:], cache.read[0]) is None
    queries = whole.layers[2].queries[:, 100:]
    found = cache.selection.chosen(2, queries, cache.read[2])
    for head, known in enumerate(cache.selection._known[2]):
        assert len(known.label) == 96 and len(known.centroid) == 12 and (known.label[:4] == -1).all()
        for n in range(8):
            scores = queries[head * GROUP : head * GROUP + GROUP, n].sum(0) @ known.centroid.T
            read: list[int] = []
            for cluster in scores.argsort(descending=True).tolist():
                read += (known.label == cluster).nonzero()[:, 0].tolist()
            assert found[head, n].nonzero()[:, 0].tolist() == sorted([0, 1, 2, 3, *read[:20], 96, 97, 98, 99])


def test_clusters_of_a_prompt_stay_and_a_full_window_gets_its_own() -> None:
    whole = made_up(MODEL, 140)
    cache = begin("clusterkv:budget=20:sinks=4:each=8:window=32:dense_layers=1", whole.slice(0, 100))
    before = cache.selection._known[2][0]
    for i, layer in enumerate(whole.layers):
        cache.attend(i, layer.slice(100, 140))
    cache.stored_bytes()
    after = cache.selection._known[2][0]
    assert torch.equal(after.label[:96], before.label) and torch.equal(after.centroid[:12], before.centroid)
    assert len(after.label) == 128 and len(after.centroid) == 16 and (after.label[96:] >= 12).all()


def test_misses_of_a_prompt_are_what_its_last_queries_had_not_chosen_before() -> None:
    whole = made_up(MODEL, 100)
    text = "clusterkv:budget=20:sinks=4:each=8:window=32:dense_layers=3"
    cache = begin(text, whole)
    found = cache.selection.chosen(3, whole.layers[3].queries[:, -64:], cache.read[3])[:, :, 4:96]
    new = sum(int((found[:, n] & ~found[:, n - 1]).sum()) for n in range(1, 64))
    assert cache.seen["misses"].mean == pytest.approx(new / int(found[:, 1:].sum()), abs=0.02)  # rows are fp16 now
    assert cache.policy.selection.misses == cache.seen["misses"].mean


def test_a2ats_scores_tokens_by_the_codeword_of_their_unrotated_key() -> None:
    """A codeword for each key names it exactly: the best are those of the highest scores at distance `window`."""
    whole = made_up(MODEL, 108)
    cache = begin("a2ats:share=0.1:codewords=4096:window=16:sinks=2:local=3", whole.slice(0, 100))
    queries = whole.layers[1].queries[:, 100:]
    found = cache.selection.chosen(1, queries, cache.read[1])
    at, keys = torch.arange(100, 108), cache.read[1].key
    raw_queries = rotate(queries, at, whole.turns, back=True)
    raw_keys = rotate(keys, torch.arange(100), whole.turns, back=True)
    asked = rotate(raw_queries, torch.full((8,), 16), whole.turns)
    for head in range(2):
        for n in range(8):
            scores = asked[head * GROUP : head * GROUP + GROUP, n].sum(0) @ raw_keys[head].T
            best = scores.topk(10).indices.tolist()
            read = found[head, n].nonzero()[:, 0].tolist()
            assert set(read) - {0, 1, 97, 98, 99} <= set(best) and set(best) <= set(read)


def test_a2ats_weighs_distances_by_the_queries() -> None:
    """Codewords at an equal distance: the one that differs where queries are small is nearest."""
    whole = made_up(MODEL, 300)
    part = begin("a2ats:codewords=8", whole.slice(0, 300)).selection
    words, root = part.books[0]
    asked = part._unrotated(whole.layers[0].queries[:4], torch.arange(300)).flatten(0, 1)
    moment = asked.T @ asked / len(asked)
    keys = whole.layers[0].raw_keys[0]
    codes = part.codes(0, begin("full", whole).read[0])[0]
    plain = words[0] @ torch.linalg.inv(root[0])
    for n in range(0, 300, 37):
        off = keys[n] - plain
        distance = ((off @ moment) * off).sum(1)
        assert distance[codes[n]] <= distance.min() * 1.02  # the ridge, and rows of 16 bits
