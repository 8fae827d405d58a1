"""Codebooks and dictionaries: what fits them is read back, and stored bits alone give what is read."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.bits import unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.kmeans import kmeans, levels, nearest  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.sparse_codes import pursued  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402

from .test_compress import tiny  # noqa: E402


def test_nearest_and_kmeans_on_two_heaps() -> None:
    points = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 4.0]]])
    centres = kmeans(points, 2, 5, torch.Generator().manual_seed(1))
    assert sorted(map(tuple, centres[0].tolist())) == [(0.0, 1.0), (10.0, 2.0)]
    index = nearest(points, torch.tensor([[[0.0, 1.0], [10.0, 2.0]]]))
    assert index.tolist() == [[0, 0, 1, 1]]


def test_levels_of_numbers_are_means_of_their_heaps() -> None:
    assert levels(torch.tensor([5.0, 0.0, 1.0, 5.5, 100.0]), 3).tolist() == [0.5, 5.25, 100.0]


def test_as_many_tokens_as_centroids_are_read_back() -> None:
    states = made_up(tiny(1), 16)
    cache = begin("coupled-quantization:code_bits=4", states)
    assert torch.allclose(cache.read[0].key, states.layers[0].keys, atol=4e-3)
    assert torch.allclose(cache.read[0].value, states.layers[0].values, atol=4e-3)


def test_indices_and_tables_give_what_is_read() -> None:
    states = made_up(tiny(2), 90)
    cache = begin("coupled-quantization:channels=4:code_bits=5", states, calibration=made_up(tiny(2), 70, seed=9))
    part = cache.basis.quantizers[1, 0]
    for tables, stored, read in zip(part.whole, cache.rows[1], (cache.read[1].key, cache.read[1].value), strict=True):
        for head in range(2):
            index = unpack(stored[head], 5, 90 * 8).reshape(90, 8).long()
            rows = torch.stack([tables[head, group][index[:, group]] for group in range(8)], 1).flatten(1)
            if read is cache.read[1].key:
                rows = rotate(rows, torch.arange(90), states.turns)
            assert torch.equal(rows, read[head])
    raw = states.layers[1].raw_keys
    chosen = unpack(cache.rows[1][0][0], 5, 90 * 8).reshape(90, 8)
    distance = (raw[0, 11, 8:12] - part.whole[0][0, 2]).norm(dim=1)
    assert int(chosen[11, 2]) == int(distance.argmin())
    assert "calibration" in cache.notes[0] and "prompt" in begin("coupled-quantization:code_bits=2", states).notes[0]


def test_pursuit_finds_the_atoms_of_a_sum() -> None:
    atoms = torch.eye(6)
    index, weights, left = pursued(torch.tensor([[0.0, 3.0, 0.0, -1.0, 0.0, 2.0]]), atoms, 3, None)
    assert index.tolist() == [[1, 5, 3]] and weights.tolist() == [[3.0, 2.0, -1.0]] and not left.any()


def test_sums_of_stored_atoms_give_what_is_read() -> None:
    states = made_up(tiny(2), 40)
    cache = begin("csr:atoms=4:dictionary=50:weight_bits=3", states)
    books = cache.basis.quantizers[1, 0].whole
    for (atoms, weights), stored, read in zip(
        books, cache.rows[1], (cache.read[1].key, cache.read[1].value), strict=True
    ):
        assert torch.allclose(atoms.norm(dim=1), torch.ones(50), atol=1e-3)
        for head in range(2):
            codes = unpack(stored[head], 9, 40 * 4).reshape(40, 4)  # 6 bits of an index above 3 of a weight
            rows = sum(weights[i][codes[:, i].long() & 7][:, None] * atoms[codes[:, i].long() >> 3] for i in range(4))
            assert torch.allclose(rows, read[head], atol=1e-5)


def test_more_atoms_miss_less() -> None:
    states = made_up(tiny(1), 120)
    missed = []
    for atoms in (1, 2, 4, 8):
        read = begin(f"csr:atoms={atoms}:dictionary=64:weight_bits=5", states).read[0].value
        missed.append(float((read - states.layers[0].values).norm()))
    assert missed == sorted(missed, reverse=True)


def test_new_tokens_alone_are_coded_to_the_same_rows() -> None:
    whole = made_up(tiny(2), 60)
    cache = begin("coupled-quantization:code_bits=4", whole.slice(0, 40))
    for i, layer in enumerate(whole.layers):
        cache.attend(i, layer.slice(40, 60))
    cache.stored_bytes()
    part = cache.basis.quantizers[1, 0]
    rows = part.rows(whole.layers[1].keys, whole.layers[1].values, torch.arange(60).expand(2, -1))
    assert torch.allclose(cache.read[1].key, rows[0]) and torch.allclose(cache.read[1].value, rows[1])
