"""`python -m kernels_ref.plot`: draws docs/kernels.png from kernels_ref/results/bench_*.csv (of kernels_ref.bench)."""

import argparse
import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
MARKS = "osD^vPX*<>hp"


def read(path: Path) -> list[dict[str, str]]:
    """The rows of one CSV."""
    with path.open() as file:
        return list(csv.DictReader(file))


def series(row: dict[str, str]) -> str:
    """The curve a row belongs to: its kernel, and the stored dtype or the grain where it has one."""
    shape = dict(part.split("=") for part in row["shape"].split())
    return " ".join([row["kernel"], *(f"{k}={shape[k]}" for k in ("dtype", "bits", "grain") if k in shape)])


def draw(files: list[Path], out: Path) -> None:
    """One panel a CSV: share of the chip's limit over megabytes moved, a mark a shape, and PyTorch's best beside it."""
    figure, axes = plt.subplots(1, len(files), figsize=(6.5 * len(files), 4.6), squeeze=False, sharey=True)
    for axis, path in zip(axes[0], files, strict=True):
        rows = read(path)
        names = sorted({series(row) for row in rows})
        for i, name in enumerate(names):
            mine = [row for row in rows if series(row) == name]
            axis.plot(
                [int(r["bytes"]) / 1e6 for r in mine],
                [float(r["share"]) for r in mine],
                MARKS[i % len(MARKS)],
                color=f"C{i % 10}",
                label=name,
                markersize=5,
            )
        peers = []
        for row in rows:
            times = [float(peer.split("=")[1]) for peer in row["peers"].split() if "=" in peer]
            peers += [(int(row["bytes"]) / 1e6, float(row["limit_s"]) / min(times))] if times else []
        axis.plot(*zip(*peers, strict=True), "k_", markersize=9, label="PyTorch SDPA, best backend")
        axis.set(xscale="log", title=rows[0]["device"], xlabel="bytes moved at least [MB]", ylim=(0, 1.15))
        axis.axhline(1, color="0.7", linewidth=0.8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=6, loc="lower right")
    axes[0][0].set_ylabel("share of the limit (measured copy bandwidth or FLOP rate)")
    figure.tight_layout()
    figure.savefig(out, dpi=90, metadata={"Software": None})


def main() -> int:
    """Parses the arguments and draws. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.plot", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/kernels.png"))
    arguments = parser.parse_args()
    files = sorted(RESULTS.glob("bench_*.csv"))
    if not files:
        parser.error(f"no bench_*.csv in {RESULTS}")
    draw(files, arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
