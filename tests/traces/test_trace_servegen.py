"""ServeGen's client pools: rates, lengths, and what is wrong with a damaged one."""

import csv
import json
import os
import tarfile
from ast import literal_eval
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_trace_sessions import same

from kvsim.errors import UserError
from kvsim.specs.load import build
from kvsim.traces.generate import generate
from kvsim.traces.trace import Trace
from kvsim.traces.workload import Generate

POOLS = Path(os.environ.get("KVSIM_SHARED", "../shared")) / "traces/servegen"


def _make(seed: int, requests: int, **spec: object) -> Trace:
    return generate(build(Generate, {"requests": requests, **spec}, "test"), seed)


def _pool(folder: Path, trace: str = "0,2,1,Gamma,1,0.5\n600,0,0,,0,0\n", dataset: Any = None) -> Path:
    pool = folder / "pool"
    pool.mkdir()
    windows = {"0": {"input_tokens": "{10: 0.25, 20: 0.75}", "output_tokens": "{5: 1.0}"}}
    (pool / "chunk-3-trace.csv").write_text(trace)
    (pool / "chunk-3-dataset.json").write_text(json.dumps(windows if dataset is None else dataset))
    return pool


def test_a_pool_from_a_folder_and_from_a_tar(tmp_path: Path) -> None:
    pool = _pool(tmp_path)
    made = _make(0, 2000, servegen={"pool": str(pool)})
    assert len(made) / made.arrival_s[-1] == pytest.approx(2000 / 1600, rel=0.1)  # every other window is empty
    assert set(made.prompt_tokens.tolist()) == {10, 20}
    assert (made.prompt_tokens == 20).mean() == pytest.approx(0.75, abs=0.04)
    with tarfile.open(tmp_path / "pool.tar.xz", "w:xz") as packed:
        packed.add(pool, "data/pool")
    again = _make(0, 2000, servegen={"pool": str(tmp_path / "pool.tar.xz")})
    assert made.arrival_s.tobytes() == again.arrival_s.tobytes()
    assert same(made.head(700).prompt_tokens, _make(0, 700, servegen={"pool": str(pool)}).prompt_tokens)


@pytest.mark.parametrize(
    ("trace", "dataset", "message"),
    [
        ("0,2,1,Gamma\n", None, "must be start,rate,cv,law,shape,scale"),
        ("0,2,1,Gauss,1,1\n", None, "of a Gamma or Weibull law"),
        ("0,2,1,Gamma,0,1\n", None, "shape must be from"),
        ("0,0,1,Gamma,1,1\n", None, "no client sends requests"),
        ("0,2,1,Gamma,1,1\n", {"0": {}}, "hardly any requests"),
        ("0,2,1,Gamma,1,1\n", [1], "must be a JSON object of windows"),
        ("0,2,1,Gamma,1,1\n", {"0": {"output_tokens": "__import__('os')"}}, "must be a text such as"),
        ("0,2,1,Gamma,1,1\n", {"0": {"output_tokens": "{1: -1, 2: 3}"}}, "must be probabilities"),
    ],
)
def test_bad_pools(trace: str, dataset: Any, message: str, tmp_path: Path) -> None:
    pool = _pool(tmp_path, trace, dataset)
    with pytest.raises(UserError, match=message):
        _make(0, 10, servegen={"pool": str(pool)})


def test_pools_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.tar.xz").write_bytes(b"\xfd7zXZ\x00no")
    for path in (tmp_path, tmp_path / "text.tar.xz", tmp_path / "nosuch"):
        with pytest.raises(UserError):
            _make(0, 10, servegen={"pool": str(path)})


@pytest.mark.skipif(not POOLS.is_dir(), reason=f"no pools in {POOLS}: set KVSIM_SHARED")
def test_a_real_pool_has_its_published_figures() -> None:
    """A day of deepseek-r1: 73 clients, 16.0 requests/s, 42.5 at most; lengths by their laws and rates."""
    laws: dict[tuple[int, float], tuple[float, float]] = {}
    rates: dict[tuple[int, float], float] = {}
    with tarfile.open(POOLS / "deepseek-r1.tar.xz") as pool:
        for member in pool:
            stream, parts = pool.extractfile(member), member.name.split("-")
            if stream and parts[-1] == "trace.csv":
                for row in csv.reader(stream.read().decode().splitlines()):
                    key = int(parts[-2]), float(row[0]) // 21_600 * 21_600
                    rates[key] = rates.get(key, 0.0) + float(row[1])
            elif stream:
                for begin, columns in json.loads(stream.read()).items():
                    both = (literal_eval(columns[key]) for key in ("input_tokens", "output_tokens"))
                    prompt, output = (sum(tokens * share for tokens, share in law.items()) for law in both)
                    laws[int(parts[-2]), float(begin)] = prompt, output
    total = sum(rates.values())
    means = [sum(rates[key] * laws.get(key, (0, 0))[which] for key in rates) / total for which in (0, 1)]
    made = _make(0, 1_400_000, servegen={"pool": str(POOLS / "deepseek-r1.tar.xz")})
    day = made.arrival_s < 86_400
    assert np.count_nonzero(day) / 86_400 == pytest.approx(16.0, rel=0.01)
    assert np.bincount((made.arrival_s[day] // 600).astype(int)).max() / 600 == pytest.approx(42.5, rel=0.01)
    assert "73 clients" in made.notes[0]
    assert made.prompt_tokens[day].mean() == pytest.approx(means[0], rel=0.02)
    assert made.output_tokens[day].mean() == pytest.approx(means[1], rel=0.02)
