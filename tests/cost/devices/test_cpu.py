"""Attention on processors: gathers, sockets, hash tables."""

import numpy as np
import pytest

from kvsim import find
from kvsim.cost.devices import cpu
from kvsim.specs.hardware import Cpu

TWO = find.machine("h100").host.cpu
assert TWO is not None


def test_a_gathered_row_pays_for_lines_that_nobody_wanted() -> None:
    assert TWO is not None
    assert cpu.gather_share(TWO, 256) == pytest.approx(256 / 320)
    assert cpu.gather_share(TWO, 4) == pytest.approx(4 / 128)
    assert cpu.gather_share(TWO, 1 << 20) == pytest.approx(1, rel=1e-3)


def test_sockets() -> None:
    """Two nodes, half the rate for the other one's memory: times 1/2 + 1/2 x 2 make 2/3 of the bandwidth."""
    assert TWO is not None
    assert cpu.numa_share(TWO, True) == 1.0
    assert cpu.numa_share(TWO, False) == pytest.approx(2 / 3)
    one: Cpu = TWO.model_copy(update={"sockets": 1})
    assert cpu.numa_share(one, False) == 1.0


def test_threads_draw_bandwidth_until_it_is_all_taken() -> None:
    assert TWO is not None
    shares = [cpu.threads_share(TWO, 614.4e9, n) for n in (8, 41, 500, 0)]
    assert shares == pytest.approx([8 * 12e9 / (0.8 * 614.4e9), 1.0, 1.0, 1.0], rel=2e-3)
    assert cpu.bytes_per_s(TWO, 614.4e9, None, threads=8) == pytest.approx(96e9)


def test_the_tables_of_magicpig_are_larger_than_the_cache() -> None:
    """150 tables of an int32 and an int16: 900 bytes a token and head, against 512 of fp16 keys and values."""
    assert cpu.table_bytes(150) == 900


def test_collisions_follow_simhash() -> None:
    """A thousand random rotations of 10 bits and 150 tables, keys at a cosine of 0.6 (Charikar, STOC 2002)."""
    rng = np.random.default_rng(0)
    query, other = np.array([1.0, 0.0]), np.array([0.6, 0.8])
    directions = rng.standard_normal((1000, 150, 10, 2))
    alike = ((directions @ query > 0) == (directions @ other > 0)).all(axis=-1).sum(axis=-1) >= 2
    assert cpu.collision(0.6, 10, 150) == pytest.approx(alike.mean(), abs=0.04)
    assert cpu.collision(1.0, 10, 150) == 1.0
    assert cpu.collision(-1.0, 10, 150) == 0.0
