"""Loading a context: stages of one stream, codecs, recomputing, and what is refused."""

import numpy as np
import pytest

import kvsim
from kvsim.errors import UserError

HW, MODEL = "h100+2nvme+cxl+rdma", "llama-3-8b"
BYTES = 131_072


def test_the_slowest_stage_sets_the_pace() -> None:
    """100,000 tokens over two drives of 6.5 GB/s; the host link behind them is done one chunk later."""
    found = kvsim.load(hw=HW, model=MODEL, context=100_000, tier="flash")
    assert set(found.lanes) == {"nvme_read", "h2d"}
    flash = BYTES * 100_000 / 13e9
    assert float(found.lanes["nvme_read"]) == pytest.approx(flash, rel=1e-3)
    assert float(found.seconds) == pytest.approx(flash, rel=2e-3)
    assert found.bound == "flash"
    assert found.roofline_s == pytest.approx(flash)


@pytest.mark.parametrize("tier", ["dram", "flash", "cxl", "remote"])
def test_arrays_give_what_single_contexts_give(tier: str) -> None:
    contexts = np.array([100, 5000, 70_000])
    many = kvsim.load(hw=HW, model=MODEL, context=contexts, tier=tier)
    ones = [kvsim.load(hw=HW, model=MODEL, context=int(tokens), tier=tier) for tokens in contexts]
    assert np.asarray(many.seconds).tolist() == [one.seconds for one in ones]
    assert np.asarray(many.recompute_s).tolist() == [one.recompute_s for one in ones]


def test_a_smaller_cache_loads_faster() -> None:
    full, kivi = (kvsim.load(hw=HW, model=MODEL, context=50_000, tier="dram", policy=name) for name in ("full", "kivi"))
    assert float(full.seconds) / float(kivi.seconds) == pytest.approx(16 / 3, rel=0.1)


def test_a_slow_tier_is_worse_than_none() -> None:
    slow = kvsim.load(hw="h100+tcp", model=MODEL, context=np.array([8000, 128_000]), tier="remote")
    assert slow.wins.tolist() == [False, True]


def test_a_codec_stands_between(tmp_path: object) -> None:
    """A cache at 2 bits in transit: an eighth of the wire, and its elements decoded on the GPU."""
    found = kvsim.load(hw=HW, model=MODEL, context=20_000, tier="remote", policy="cachegen")
    assert found.wire_bytes == pytest.approx(20_000 * BYTES / 8)
    assert found.lanes["gpu"] == pytest.approx(20_000 * BYTES / 2 / 2e10)
    smaller = kvsim.load(hw=HW, model=MODEL, context=20_000, tier="remote", policy="cachegen", level=2)
    assert smaller.wire_bytes == pytest.approx(0.6 * float(found.wire_bytes))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"tier": "flash", "hw": "h100"}, "machine h100: unknown tier 'flash'"),
        ({"tier": "hbm"}, "load: tier must be one of dram, flash, cxl, remote, but got 'hbm'"),
        ({"context": 0}, "load: context must be whole numbers from 1"),
        ({"policy": "cachegen+vcllm"}, "two parts say how the cache travels; keep one"),
        ({"policy": "cachegen", "level": 3}, "load: level must be 0 to 2, but got 3"),
        ({"policy": "vcllm", "hw": "u280"}, "hw u280: has no codec lane"),
    ],
)
def test_refusals(words: dict[str, object], says: str) -> None:
    with pytest.raises(UserError) as error:
        kvsim.load(**{"hw": HW, "model": MODEL, "context": 1000, "tier": "dram"} | words)  # type: ignore[arg-type]
    assert says in str(error.value)
    assert "\n" not in str(error.value)
