"""`python -m kernels_ref.tune`: times many configurations of the decode kernels; configs.py is written from its CSV.

Kernels are compiled by a pool of processes first (Triton's disk cache is shared), so that GPU time goes to timing.
"""

import argparse
import csv
import itertools
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from kernels_ref import timing
from kernels_ref.bench_attention import dense, gathered, shared
from kernels_ref.cases import Work
from kernels_ref.configs import Config

BASE = {"kv_heads": 8, "group": 4, "dim": 128}
TILES = [Config(n, w, s) for n, w, s in itertools.product((64, 128), (2, 4, 8), (2, 3, 4, 5)) if n / w <= 32]
TILES += [Config(32, w, s) for w, s in itertools.product((1, 2, 4), (3, 4, 6))]
PREFIX = [
    Config(n, w, s, c, m)
    for m, w in ((64, 4), (64, 8), (128, 8))
    for n, s, c in ((64, 3, 1), (64, 4, 1), (32, 4, 1), (64, 2, 2), (32, 4, 2), (128, 2, 1))
]
SHAPES: dict[str, tuple[Callable[..., Work], dict[str, object], list[Config]]] = {
    **{
        f"{dtype} {b}x{t}": (dense, {"batch": b, "tokens": t, "dtype": dtype, **BASE}, TILES)
        for dtype in ("bfloat16", "fp8")
        for b, t in ((8, 512), (8, 8192), (8, 32768), (128, 2048), (1, 131072))
    },
    "tokens 8x8192": (
        gathered,
        {"batch": 8, "kv_heads": 8, "group": 4, "tokens": 16384, "read": 8192, "grain": 1},
        TILES,
    ),
    "prefix 16x32768": (shared, {"batch": 16, "kv_heads": 8, "group": 4, "prefix": 32768, "suffix": 128}, PREFIX),
    "prefix 256x32768": (shared, {"batch": 256, "kv_heads": 8, "group": 4, "prefix": 32768, "suffix": 16}, PREFIX),
}
CTAS = (1, 2, 3, 4, 6, 8)


def compile_one(task: tuple[str, Config]) -> str:
    """Compiles by running a small shape once; returns the error, if any."""
    name, config = task
    build, shape, _ = SHAPES[name]
    small = dict(shape) | {k: v for k, v in (("tokens", 256), ("read", 64), ("prefix", 256)) if k in shape}
    try:
        build(**small).launch(0, config)
        torch.cuda.synchronize()
    except Exception as failure:
        return f"{type(failure).__name__}: {failure}"[:200]
    return ""


def launch_with(work: Work, config: Config, i: int) -> None:
    """One launch over buffer set i with a configuration of its own."""
    work.launch(i, config)


def main() -> int:
    """Compiles, times, writes tune.csv and prints the five best of each shape. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.tune", description=__doc__.split("\n")[0])
    parser.add_argument("--only", default="", help="part of a shape's name")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")) / "tune.csv")
    arguments = parser.parse_args()
    names = [name for name in SHAPES if arguments.only in name]
    first = {(SHAPES[n][0], SHAPES[n][1].get("dtype")): n for n in names}  # shapes do not change what is compiled
    tasks = [(n, c) for n in first.values() for c in SHAPES[n][2]]
    with ProcessPoolExecutor(14, get_context("spawn")) as pool:
        failed = {
            (SHAPES[n][0], SHAPES[n][1].get("dtype"), c)
            for (n, c), e in zip(tasks, pool.map(compile_one, tasks), strict=True)
            if e and not print(n, c, e, file=sys.stderr)
        }
    copy = timing.copy_bandwidth().seconds
    print(f"copy {copy / timing.GB:.0f} GB/s")
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["shape", "block_m", "block_n", "warps", "stages", "ctas_per_sm", "seconds", "share_of_copy"])
        for name in names:
            build, shape, configs = SHAPES[name]
            best = []
            tried = configs if build is shared else [replace(c, ctas_per_sm=n) for c in configs for n in CTAS]
            base = build(**shape)
            for config in tried:
                key = replace(config, ctas_per_sm=2) if build is not shared else config
                if (build, shape.get("dtype"), key) in failed:
                    continue
                time = timing.seconds(partial(launch_with, base, config), base.sets, repeats=5, target_s=1e-3).seconds
                row = [name, config.block_m, config.block_n, config.warps, config.stages, config.ctas_per_sm]
                writer.writerow([*row, f"{time:.5g}", f"{base.bytes / time / copy:.4f}"])
                best.append((time, config))
            for time, config in sorted(best, key=lambda pair: pair[0])[:5]:
                print(f"{name:18} {time * 1e6:8.1f} us  {base.bytes / time / copy:.3f} of copy  {config}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
