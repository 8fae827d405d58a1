"""`python -m kernels_ref.bench`: times every kernel of this package on the GPU at hand and compares it with the chip.

Cases come from every module here that has a list `CASES` (see cases.py). A row of the CSV is one shape: bytes, FLOPs,
seconds, the share of the limit (measured copy bandwidth or matrix-product rate, whichever binds), the noise (relative
difference of two measurements), the seconds of PyTorch's own attention, and where the numbers come from.
"""

import argparse
import csv
import importlib
import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

import kernels_ref
from kernels_ref import timing
from kernels_ref.cases import Case, Work

COLUMNS = [
    "kernel",
    "shape",
    "bytes",
    "flops",
    "seconds",
    "noise",
    "limit_s",
    "bound",
    "share",
    "bytes_per_s",
    "peers",
    "copy_bytes_per_s",
    "peak_flops_per_s",
    "device",
    "driver",
    "torch",
    "triton",
    "command",
]


def discover() -> Iterator[Case]:
    """The cases of all modules of this folder, in the modules' order."""
    for module in pkgutil.iter_modules(kernels_ref.__path__):
        if not module.ispkg and module.name not in ("bench", "plot", "tune"):
            yield from getattr(importlib.import_module(f"kernels_ref.{module.name}"), "CASES", ())


def compile_one(index: int) -> None:
    """Launches case `index` once: what it compiles stays in Triton's cache on disk, which processes share."""
    try:
        list(discover())[index].build().launch(0)
        torch.cuda.synchronize()
    except Exception:  # says so again, with its reason, when it is timed
        return
    torch.cuda.empty_cache()


def limit(work: Work, copy: float, peak: float) -> tuple[float, str]:
    """Seconds that no kernel can beat by much, and what sets them."""
    by_bytes, by_flops = work.bytes / copy, work.flops / peak
    return max(by_bytes, by_flops), "flops" if by_flops > by_bytes else "bytes"


def measure(case: Case, copy: float, peak: float) -> dict[str, object]:
    """One row of the table. A peer that refuses the shape is left out with its error's type."""
    work = case.build()
    least, bound = limit(work, copy, peak)
    # tensor cores at work lower the clock: measure over as long a time as their yardstick was
    window = 20e-3 if work.flops / peak > least / 2 else 2e-3
    time = timing.seconds(work.launch, work.sets, target_s=window)
    peers = []
    for name, launch in work.peers.items():
        try:
            peers.append(f"{name}={timing.seconds(launch, work.sets, repeats=7).seconds:.4g}")
        except RuntimeError as refusal:
            torch.cuda.synchronize()
            peers.append(f"{name}:{type(refusal).__name__}")
    return {
        "kernel": case.kernel,
        "shape": " ".join(f"{k}={v}" for k, v in case.shape.items()),
        "bytes": work.bytes,
        "flops": work.flops,
        "seconds": f"{time.seconds:.5g}",
        "noise": f"{time.noise:.3f}",
        "limit_s": f"{least:.5g}",
        "bound": bound,
        "share": f"{least / time.seconds:.3f}",
        "bytes_per_s": f"{work.bytes / time.seconds:.4g}",
        "peers": " ".join(peers),
        "copy_bytes_per_s": f"{copy:.4g}",
        "peak_flops_per_s": f"{peak:.4g}",
    }


def show(rows: Iterable[dict[str, object]]) -> None:
    """A short table on stdout."""
    print(f"{'kernel':14} {'share':>6} {'bound':5} {'us':>9} {'GB/s':>6} {'noise':>6}  shape | peers (s)")
    for row in rows:
        us, rate = float(str(row["seconds"])) * 1e6, float(str(row["bytes_per_s"])) / timing.GB
        print(
            f"{row['kernel']:14} {row['share']:>6} {row['bound']:5} {us:9.1f} {rate:6.0f} {row['noise']:>6}  "
            f"{row['shape']} | {row['peers']}"
        )


def main() -> int:
    """Parses the arguments, times the cases, writes the CSV and prints the table. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.bench", description=__doc__.split("\n")[0])
    parser.add_argument("--only", help="comma-separated kernel names (default: all)")
    parser.add_argument("--quick", action="store_true", help="one or two shapes a kernel")
    parser.add_argument(
        "--jobs", type=int, default=6, help="processes that compile first (a few GB of GPU memory each)"
    )
    parser.add_argument("--out", type=Path, help="CSV file (default: bench.csv in $OUT, or here)")
    arguments = parser.parse_args()
    cases = list(discover())
    known = sorted({case.kernel for case in cases})
    wanted = set(arguments.only.split(",")) if arguments.only else set(known)
    if not wanted <= set(known):
        parser.error(f"--only must name kernels of {', '.join(known)} but got {', '.join(sorted(wanted - set(known)))}")
    if not torch.cuda.is_available():
        parser.error("needs a CUDA device")
    origin = timing.provenance()
    copy, peak = timing.copy_bandwidth(), timing.flop_peak()
    out = arguments.out or Path(os.environ.get("OUT", ".")) / "bench.csv"
    chosen = [i for i, c in enumerate(cases) if c.kernel in wanted and (c.quick or not arguments.quick)]
    try:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
            list(pool.map(compile_one, chosen))
    except BrokenExecutor as failure:
        print(f"compiling ahead stopped, the timing goes on: {failure}", file=sys.stderr)
    rows = []
    with out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for case in (cases[i] for i in chosen):
            try:
                rows.append(measure(case, copy.seconds, peak.seconds))
            except Exception as failure:  # one broken kernel must not cost the others their numbers
                reason = f"{type(failure).__name__}: {failure}"[:300]
                print(f"{case.kernel} {dict(case.shape)}: {reason}", file=sys.stderr)
                continue
            writer.writerow(rows[-1] | origin)
            file.flush()
            torch.cuda.empty_cache()
    rates = f"copy {copy.seconds / timing.GB:.0f} GB/s, bf16 product {peak.seconds / 1e12:.0f} TFLOP/s"
    print(f"{origin['device']}: {rates}")
    show(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
