"""Flash: two ceilings and Little's law below them, M/D/1 waits within known bounds, wear."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim import find
from kvsim.cost.devices import flash
from kvsim.specs.devices import Drive
from kvsim.specs.load import load

DRIVES = {name: load(Drive, find.ROOT / "hardware/drives" / f"{name}.yaml") for name in find.names("hardware/drives")}
PM9A3 = DRIVES["samsung-pm9a3"]


@pytest.mark.parametrize("drive", DRIVES.values(), ids=DRIVES)
def test_datasheet_figures_come_back(drive: Drive) -> None:
    """4 KiB at the stated depth give the stated IOPS, large requests the bandwidth, one at a time its latency."""
    deep = drive.queue_depth
    assert flash.read_iops(drive, 4096, deep) == pytest.approx(drive.random_read)
    assert flash.read_bytes_per_s(drive, 1 << 20, deep) == pytest.approx(drive.read)
    alone = 1 / (drive.read_latency + 4096 / drive.read)
    assert flash.read_iops(drive, 4096, 1) == pytest.approx(alone)
    assert flash.write_iops(drive, 4096, 10_000) == pytest.approx(min(drive.random_write, drive.write / 4096))


def test_a_small_row_wastes_a_sector() -> None:
    """256 bytes of a key cost a whole sector: 900,000 of them a second carry 230 MB/s of 6.5 GB/s."""
    assert flash.read_bytes_per_s(PM9A3, 256, 256) == pytest.approx(900_000 * 256)
    assert flash.read_bytes_per_s(PM9A3, 256, 256) / PM9A3.read == pytest.approx(0.0354, rel=1e-2)


@settings(deadline=None)
@given(
    size=st.integers(1, 1 << 24), more=st.integers(0, 1 << 24), depth=st.integers(1, 4096), deeper=st.integers(0, 4096)
)
def test_more_of_anything_never_takes_longer(size: int, more: int, depth: int, deeper: int) -> None:
    """Requests/s fall with size and rise with depth; seconds of a request rise with size."""
    assert flash.read_iops(PM9A3, size, depth) >= flash.read_iops(PM9A3, size + more, depth)
    assert flash.read_iops(PM9A3, size, depth) <= flash.read_iops(PM9A3, size, depth + deeper)
    assert flash.read_bytes_per_s(PM9A3, size, depth) <= PM9A3.read * (1 + 1e-12)


def test_writes_take_their_time_from_reads() -> None:
    reads, writes = flash.beside(PM9A3, np.array([0.0, 0.25, 1.0]))
    assert reads == pytest.approx(np.array([1, 0.75, 0]) * PM9A3.read)
    assert writes == pytest.approx(np.array([0, 0.25, 1]) * PM9A3.write)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waits_are_those_of_a_simulated_queue(load: float) -> None:
    """Lindley's recursion on 400,000 Poisson arrivals, one service time: mean and 99th percentile (known to 3 %)."""
    rng, service = np.random.default_rng(0), 1.0
    gaps = rng.exponential(service / load, 400_000)
    steps = service - gaps
    walk = np.concatenate([[0.0], np.cumsum(steps)])
    waits = walk - np.minimum.accumulate(walk)
    assert float(flash.wait_s(service, load)) == pytest.approx(waits.mean(), rel=0.04)
    bound = float(flash.tail_wait_s(service, load, 0.99))
    assert 0.97 * np.quantile(waits, 0.99) <= bound <= np.quantile(waits, 0.99) + 2 * service / load


def test_a_full_drive_never_answers() -> None:
    assert flash.wait_s(1e-4, 1.0) == np.inf
    assert flash.tail_wait_s(1e-4, 1.2) == np.inf
    assert flash.wait_s(1e-4, 0.0) == 0
    assert flash.tail_wait_s(1e-4, 0.0) == 0


def test_wear() -> None:
    """1,200 TB warranted, 100 MB/s of new cache: 0.38 years; the same load fills the 2 TB drive 4.32 times a day."""
    consumer = DRIVES["samsung-990-pro"]
    assert flash.years_to_wear_out(consumer, 100e6) == pytest.approx(1200e12 / (100e6 * 365.25 * 86400))
    assert flash.years_to_wear_out(consumer, 100e6, 2.0, drives=2) == flash.years_to_wear_out(consumer, 100e6)
    assert flash.years_to_wear_out(consumer, 0.0) == np.inf
    assert flash.drive_writes_per_day(consumer, 100e6) == pytest.approx(4.32)
    assert flash.amplification(np.array([4096, 1 << 30]), 64 << 20, 0.07) == pytest.approx([1.07 / 0.14, 1.0])


@pytest.mark.parametrize(
    ("layout", "request_bytes", "read_share"),
    [("layer_first", 4096 * 1000, 1.0), ("token_first", 4096, 1.0), ("page_first", 4096 * 32 * 16, 32.0)],
)
def test_layouts(layout: str, request_bytes: float, read_share: float) -> None:
    """4 KiB a token and layer (8 kv heads of 128 at 16 bits), 32 layers, pages of 16 tokens, 1,000 tokens wanted."""
    found = flash.LAYOUTS[layout]
    assert found.request_bytes(4096, 32, 16, 1000) == request_bytes
    assert found.read_share(32) == read_share
