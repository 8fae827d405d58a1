"""LLM in a flash: OPT-6.7B on an M1 Max reads its new neurons in 125 ms a token."""

import pytest

from kvsim import find
from kvsim.cost.devices.bundles import Bundles, blocking_bytes_per_s

OPT = find.model("opt-6.7b")
WEIGHTS = Bundles(OPT.layers, OPT.hidden, OPT.ffn, 4.0, new_share=0.024, resident_share=0.24)
BANDWIDTH = 6 * 2**30  # "exceeding 6 GiB/s for a 1 GiB linear read", section 2.2


def test_what_is_read_follows_from_the_model() -> None:
    """2.4 % of 32 x 16,384 neurons, 2 x 4,096 x 4 bytes each: 12,583 reads of 32 KiB, 412 MB; 24 % stay, 4.1 GB."""
    assert WEIGHTS.chunk_bytes == 32 * 1024
    assert WEIGHTS.reads_per_token == pytest.approx(12_583, abs=1)
    assert WEIGHTS.bytes_per_token == pytest.approx(412.3e6, rel=1e-3)
    assert WEIGHTS.resident_bytes == pytest.approx(4.12e9, rel=1e-3)


def test_what_is_resident_is_a_sixth_of_the_model() -> None:
    """15.5 % of the weights, as its section 4.1 says: 0.24 x 64.6 %."""
    assert WEIGHTS.resident_bytes / (4.0 * OPT.parameters) == pytest.approx(0.155, abs=0.003)


@pytest.mark.parametrize(("latency_us", "milliseconds"), [(100, 103), (150, 123), (200, 143)])
def test_125_ms_a_token(latency_us: float, milliseconds: float) -> None:
    """32 threads that read and wait, 100 to 200 us to the first byte (neither is published for this table).

    125 ms / 12,583 reads = 9.9 us each, of which 5.1 us are transfer at 6 GiB/s: 4.8 us x 32 threads = 155 us.
    """
    rate = blocking_bytes_per_s(WEIGHTS.chunk_bytes, 32, latency_us * 1e-6, BANDWIDTH)
    took_ms = 1e3 * WEIGHTS.bytes_per_token / rate
    assert took_ms == pytest.approx(milliseconds, abs=1)
    assert took_ms == pytest.approx(125, rel=0.18)


def test_no_queue_could_read_them_faster_than_the_drive_streams() -> None:
    """64 ms at 6 GiB/s: the optimistic bound. 125 ms is twice that, so latency matters as much as bandwidth."""
    assert 1e3 * WEIGHTS.bytes_per_token / BANDWIDTH == pytest.approx(64, abs=0.1)


def test_bundling_doubles_the_chunk_and_nearly_the_rate_where_latency_counts() -> None:
    """A row alone is 16 KiB: 3.4 instead of 2.2 GB/s at 150 us and 32 threads."""
    bundled, single = (blocking_bytes_per_s(size, 32, 150e-6, BANDWIDTH) for size in (32768, 16384))
    assert bundled == pytest.approx(3.36e9, rel=0.01)
    assert bundled / single == pytest.approx(1.48, abs=0.01)
