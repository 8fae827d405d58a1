"""Placements: which layers' bytes rest where, and what a drive reads of them."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from tests.kernels_ref.twins.test_matrix import few_layers  # noqa: E402

MODEL = few_layers("llama-3-8b")
ROW, LAYER = 4 * 32, 2 * 100 * 4 * 32  # bytes of a token and kv head, of 100 tokens in one of 4 layers
GROUP = 4


def stored(text: str) -> dict[str, int]:
    return begin(text, made_up(MODEL, 100)).stored_bytes()


def test_resident_layers_stay() -> None:
    assert stored("offload") == {"hbm": 0, "dram": 4 * LAYER}
    assert stored("headinfer:resident=3") == {"hbm": 3 * LAYER, "dram": LAYER}
    assert stored("offload:resident=9:tier=flash") == {"hbm": 4 * LAYER, "flash": 0}


def test_flexgen_cuts_by_percent() -> None:
    assert stored("flexgen:cache_hbm=10:cache_dram=30") == {
        "hbm": 4 * LAYER // 10, "dram": 4 * LAYER * 3 // 10, "flash": 4 * LAYER * 6 // 10
    }  # fmt: skip
    assert stored("flexgen") == {"dram": 4 * LAYER, "hbm": 0}


def test_an_index_stays_on_the_chip() -> None:
    """3 of 4 layers away; 96 of 100 tokens in 12 clusters of 2 kv heads."""
    index = 2 * 3 * (12 * 64 + 96 * 4)
    found = stored("clusterkv:budget=20:sinks=4:each=8:window=32:dense_layers=1")
    assert found == {"hbm": LAYER + index, "dram": 3 * LAYER}
    assert stored("a2ats") == {"hbm": 4 * 2 * 100 * 2, "dram": 4 * LAYER}


def test_tables_rest_with_the_rows_they_name() -> None:
    assert stored("magicpig:tables=10:dense_layers=1") == {"hbm": LAYER, "dram": 3 * (LAYER + 2 * 100 * 60)}
    assert stored("instinfer") == {"hbm": 0, "flash": 4 * LAYER}


def test_a_drive_reads_few_channels_and_then_the_best_rows() -> None:
    whole = made_up(MODEL, 108)
    cache = begin("instinfer:channels=0.25:tokens=0.1", whole.slice(0, 100))
    queries = whole.layers[2].queries[:, 100:]
    found, keys = cache.placement.chosen(2, queries, cache.read[2]), cache.read[2].key
    for head in range(2):
        for n in range(8):
            mine = queries[head * GROUP : head * GROUP + GROUP, n]
            channels = mine.abs().sum(0).topk(8).indices
            shares = torch.zeros(100)
            for query in mine:
                scale = (32 * query[channels].abs().sum() / query.abs().sum()).sqrt()
                shares += (query[channels] @ keys[head][:, channels].T / scale).softmax(-1)
            assert found[head, n].nonzero()[:, 0].tolist() == sorted(shares.topk(10).indices.tolist())


def test_pages_read_for_a_wanted_one() -> None:
    """A page of 4 KiB holds 64 keys of 32 channels: 10 tokens of 100 touch both, and read 128 for 10."""
    cache = begin("instinfer:channels=0.25:tokens=0.1", made_up(MODEL, 100))
    assert 64 / 10 < cache.seen["pages_read_a_page_wanted"].mean <= 128 / 10
