"""Hopper's GEMM curve: its tiles are the library's, its fastest kernel is one of them, blocks do not matter."""

import numpy as np
import pytest

from kvsim import find
from kvsim.cost.curves import tiles
from kvsim.cost.curves.tiles import TILES, WIDE, TileGemmCurve, stall
from kvsim.specs.hardware import Chip

CHIPS = ("h100-sxm", "h200-sxm")


def made(name: str) -> tuple[TileGemmCurve, Chip]:
    fitted, chip = find.calibrated(name).curve("gemm", "bf16"), find.part(name)
    assert fitted and isinstance(fitted.curve, TileGemmCurve) and isinstance(chip, Chip)
    return fitted.curve, chip


def test_tiles_are_the_most_frequent_of_the_kernels_names() -> None:
    pytest.importorskip("pandas")
    from kvsim.validate.chosen import frequent, listed

    assert listed() == frequent() and len(set(TILES)) == len(TILES)


def test_products_wait_for_shared_memory_below_64() -> None:
    """64 x N x 32 bytes: N / 2 cycles of products, 16 + N / 4 of reads."""
    sides = np.array([8.0, 32.0, 64.0, 256.0])
    assert stall(sides) == pytest.approx(np.maximum(sides / 2, 16 + sides / 4) / (sides / 2))


@pytest.mark.parametrize("name", CHIPS)
def test_the_fastest_is_the_least_of_all_kernels_one_by_one(name: str) -> None:
    curve, chip = made(name)
    for m, n, k in ((1, 1024, 8192), (48, 3072, 9216), (200, 4096, 4096), (1024, 6144, 4096)):
        every = []
        for number, (rows, columns) in enumerate(TILES if m >= 64 else WIDE):
            stalled = stall(np.array(rows if number < len(WIDE) else columns, np.float64))
            for parts in (1, *tiles.SPLITS):
                found = [np.asarray(one, np.float64) for one in (m, n, k, rows, columns)]
                count, compute, loads = curve.paces(chip, "bf16", *found[:2], *found[3:], stalled)
                if parts > 1 and (count * parts > chip.multiprocessors or k < parts * tiles.LEAST_K):
                    continue
                latency, waves, depth = curve.waves(chip, *found[:3], count, parts)
                memory, least = curve.whole(chip, "bf16", *found[:3])
                memory *= 1 + curve.idle * max(0.0, 1 - float(count) * parts / chip.multiprocessors)
                terms = waves * depth * compute, waves * depth * loads, memory, waves * depth * curve.step_s
                every.append(latency + max(sum(one**4 for one in terms) ** 0.25, least))
        serial = m * n * curve.epilogue_bytes / chip.memory.bandwidth
        shape = {"m": m, "n": n, "k": k, "dtype": "bf16"}
        assert curve.seconds(chip, shape) == pytest.approx(min(every) + serial, rel=1e-12)


@pytest.mark.parametrize("name", CHIPS)
def test_a_read_takes_longer_where_sms_have_no_tile(name: str) -> None:
    """As many bytes of weights in 96 tiles as in 128: kernels' names and seconds say so too (gemm_kernels.csv.gz)."""
    pytest.importorskip("pandas")
    from kvsim.validate.chosen import kernels

    curve, chip = made(name)
    some, all_, more = (curve.held_up(chip, np.array(tiles), 1).item() for tiles in (96.0, 132.0, 224.0))
    assert some == pytest.approx(1 + curve.idle * 36 / 132) and all_ == more == 1
    assert curve.held_up(chip, np.array(33.0), 4) == pytest.approx(1)
    frame = kernels(name)
    frame = frame[~frame["held"] & ~frame["split"] & (frame["m"] <= 24) & (frame["n"] * frame["k"] > 3e7)]
    read_s = 2 * frame["n"] * frame["k"] / chip.memory.bandwidth
    share = read_s / (frame["seconds"] - curve.launch_s - curve.wave_s)
    few, full = share[frame["ctas"] <= 100].median(), share[frame["ctas"] >= 127].median()
    assert few < 0.97 * full


def test_tall_tiles_are_for_a_warp_group_of_rows() -> None:
    pytest.importorskip("pandas")
    from kvsim.validate.chosen import kernels

    for name in CHIPS:
        frame = kernels(name).dropna(subset="rows")
        few, enough = frame[frame["m"] < tiles.TALL_ROWS], frame[frame["m"] >= tiles.TALL_ROWS]
        assert (few["wide"]).mean() > 0.95 > (enough["wide"]).mean() + 0.2


@pytest.mark.parametrize("name", CHIPS)
def test_blocks_and_repeated_rows_change_nothing(name: str) -> None:
    curve, chip = made(name)
    m = np.arange(1.0, 3 * tiles.BLOCK)
    table = curve.seconds(chip, {"m": m, "n": 4096, "k": 4096, "dtype": "bf16"})
    apart = [curve.seconds(chip, {"m": rows, "n": 4096, "k": 4096, "dtype": "bf16"}) for rows in m[::37]]
    assert np.array_equal(table[::37], apart)
    parts = curve.parts(chip, {"m": m, "n": np.full_like(m, 4096), "k": np.full_like(m, 4096), "dtype": "bf16"})
    assert all(one.shape == m.shape for one in parts.values()) and np.all(parts["latency"] < table)


def test_no_kernel_gets_more_than_the_share_at_full_clock() -> None:
    """Of GEMMs launched once, their launch left out (gemm_kernels.csv.gz)."""
    pytest.importorskip("pandas")
    from kvsim.validate.chosen import kernels

    for name in CHIPS:
        curve, chip = made(name)
        frame = kernels(name)
        frame = frame[~frame["held"] & ~frame["split"] & (frame["k"] >= 2000) & (frame["seconds"] > 3e-5)]
        m, n, k, rows, columns = (frame[key].to_numpy(float) for key in ("m", "n", "k", "rows", "columns"))
        waves = np.ceil(np.ceil(m / rows) * np.ceil(n / columns) / chip.multiprocessors)
        flops = 2 * waves * chip.multiprocessors * rows * columns * k
        fixed_s = curve.launch_s + curve.wave_s * waves + m * n * curve.epilogue_bytes / chip.memory.bandwidth
        share = flops / (frame["seconds"].to_numpy(float) - fixed_s) / (chip.peak.bf16 * tiles.FULL_CLOCK)
        assert len(frame) > 1000 and share.max() == pytest.approx(tiles.FULL_SHARE, abs=0.015)
