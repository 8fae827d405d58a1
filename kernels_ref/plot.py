"""`python -m kernels_ref.plot`: draws docs/img/kernels.png from kernels_ref/results/*.csv (of kernels_ref.bench)."""

import argparse
import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
MARKS = "osD^vPX*<>hp"


def read(paths: list[Path]) -> dict[str, list[dict[str, str]]]:
    """The rows of all files, by device."""
    devices: dict[str, list[dict[str, str]]] = {}
    for path in paths:
        with path.open() as file:
            for row in csv.DictReader(file):
                devices.setdefault(row["device"], []).append(row)
    return devices


def series(row: dict[str, str]) -> str:
    """The curve a row belongs to: its kernel, and the stored dtype or the grain where it has one."""
    shape = dict(part.split("=") for part in row["shape"].split())
    return " ".join([row["kernel"], *(f"{k}={shape[k]}" for k in ("dtype", "grain") if k in shape)])


def best_peers(rows: list[dict[str, str]]) -> list[tuple[float, float]]:
    """(megabytes, share of the limit) of the fastest PyTorch backend on each shape of `decode`."""
    points = []
    for row in rows:
        times = [float(peer.split("=")[1]) for peer in row["peers"].split() if peer.startswith("sdpa") and "=" in peer]
        if row["kernel"] == "decode" and times:
            points.append((int(row["bytes"]) / 1e6, float(row["limit_s"]) / min(times)))
    return points


def draw(devices: dict[str, list[dict[str, str]]], out: Path) -> None:
    """One panel a device: share of the chip's limit over megabytes moved, a mark a shape."""
    figure, axes = plt.subplots(1, len(devices), figsize=(8 * len(devices), 5), squeeze=False, sharey=True)
    names = list(dict.fromkeys(series(row) for rows in devices.values() for row in rows))
    for axis, (device, rows) in zip(axes[0], devices.items(), strict=True):
        for i, name in enumerate(names):
            mine = [row for row in rows if series(row) == name]
            axis.plot(
                [int(r["bytes"]) / 1e6 for r in mine],
                [float(r["share"]) for r in mine],
                MARKS[i % len(MARKS)],
                color=f"C{i % 10}",
                label=name,
                markersize=5,
                linestyle="none",
            )
        peers = best_peers(rows)
        axis.plot(
            [x for x, _ in peers],
            [y for _, y in peers],
            "k_",
            markersize=10,
            label="decode: PyTorch SDPA, best backend",
        )
        axis.set(xscale="log", title=device, xlabel="least bytes moved [MB]", ylim=(0, 1.1))
        axis.axhline(1, color="0.7", linewidth=0.8)
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes[0][0].set_ylabel("share of the limit (copy bandwidth or FLOP rate)")
    figure.tight_layout()
    figure.savefig(out, dpi=90, metadata={"Software": None})


def main() -> int:
    """Parses the arguments and draws. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.plot", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("docs/img/kernels.png"))
    arguments = parser.parse_args()
    files = sorted(RESULTS.glob("*.csv"))
    if not files:
        parser.error(f"no CSV in {RESULTS}")
    draw(read(files), arguments.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
