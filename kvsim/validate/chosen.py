"""What cuBLAS's choice of kernels costs the GEMM curve: `python -m kvsim.validate.chosen`. Needs scipy.

The form of `kvsim/cost/curves/tiles.py` fitted to the same half of an H200's rows, but each priced at the tile that the
library took (hardware/calibration/h200-sxm/gemm_kernels.csv) rather than at the fastest; splits of k at their best.
"""

from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.curves import Floats, bodies
from kvsim.cost.curves.tiles import FULL_CLOCK, GROUP_ROWS, LARGEST, STEP_K, TileGemmCurve
from kvsim.find import ROOT
from kvsim.specs.hardware import Chip
from kvsim.validate.plans import MOST, START
from kvsim.validate.rows import held_out
from kvsim.validate.solve import solve

CHIP = "h200-sxm"
NAME = r"tst_(\d+)x(\d+)_.*?(splitK)?_T"
SPLITS = (2, 3, 4, 6, 8, 12, 16)


def rows() -> Any:
    """bf16 GEMMs with `columns` and `rows` of their tile and whether k is split."""
    import pandas as pd

    folder = ROOT / "hardware" / "calibration" / CHIP
    timed, chosen = (pd.read_csv(folder / f"{name}.csv") for name in ("gemm", "gemm_kernels"))
    names = chosen[["m", "n", "k", "dtype", "name"]]
    frame = timed[timed["dtype"] == "bf16"].merge(names, on=["m", "n", "k", "dtype"])
    tile = frame["name"].str.extract(NAME)
    frame["columns"], frame["rows"] = tile[0].astype(float), tile[1].astype(float)
    return frame.assign(split=tile[2].notna() | frame["name"].str.contains("splitK"))


def seconds(curve: TileGemmCurve, chip: Chip, frame: Any) -> Floats:
    """Of each row at its tile."""
    split = np.min([_of_split(curve, chip, frame, parts) for parts in SPLITS], axis=0)
    found: Floats = np.where(frame["split"], split, _of_split(curve, chip, frame, 1))
    return found


def _of_split(curve: TileGemmCurve, chip: Chip, frame: Any, parts: int) -> Floats:
    m, n, k, rows, columns = (frame[name].to_numpy(float) for name in ("m", "n", "k", "rows", "columns"))
    sms, area, peak = chip.multiprocessors, rows * columns, chip.peak.bf16
    tiles = np.ceil(m / rows) * np.ceil(n / columns)
    depth = np.ceil(tiles * parts / sms) * np.ceil(k / parts / STEP_K) * STEP_K
    largest = 1 + curve.edge_rows * (128 + 256) / LARGEST
    flops_per_s = curve.tensor_share * FULL_CLOCK * peak / (sms * largest)
    compute = depth * 2 * (area + curve.edge_rows * (rows + columns)) / flops_per_s
    loads = depth * (np.minimum(m, rows) + np.minimum(n, columns)) * 2 / (curve.load_bytes_per_clock * chip.clock)
    again = np.maximum(m / GROUP_ROWS - 1, 0) * np.maximum(2 * n * k - chip.l2, 0)
    memory = (2 * (n * k + m * k + m * n) + again) / (curve.memory_share * chip.memory.bandwidth)
    fixed = curve.launch_s + curve.wave_s * np.ceil(tiles * parts / (sms * np.maximum(1, LARGEST / area)))
    if parts > 1:
        fixed = fixed + curve.split_s + parts * m * n * 8 / (sms * chip.clock * curve.merge_bytes_per_clock)
    least = np.maximum(2 * m * n * k / (curve.sustained_share * peak), depth * curve.step_s)
    serial = m * n * curve.epilogue_bytes / chip.memory.bandwidth
    found: Floats = fixed + np.maximum(bodies([compute, loads, memory], curve.exposed), least) + serial
    return found


def main() -> None:
    """Residuals of the half that was not fitted: at the fastest tile, as committed, and at the library's own."""
    chip, frame, start = find.part(CHIP), rows(), START["tile_gemm"]
    assert isinstance(chip, Chip)
    held = np.array([held_out(key) for key in zip(frame["n"], frame["k"], strict=True)])
    took, seen = frame["seconds"].to_numpy(float), frame[~held]

    def build(x: Floats) -> TileGemmCurve:
        values = zip(start, np.exp(x).tolist(), strict=True)
        return TileGemmCurve(**{name: min(value, MOST.get(name, np.inf)) for name, value in values})

    curve = build(
        solve(lambda x: np.log(seconds(build(x), chip, seen) / took[~held]), np.log(np.array(list(start.values()))))
    )
    error = np.abs(seconds(curve, chip, frame) / took - 1)[held]
    known = find.calibrated(CHIP).curve("gemm", "bf16")
    assert known
    print(f"the fastest tile:       median {known.held_out.median:.1%}, p90 {known.held_out.p90:.1%}")
    print(f"the library's own tile: median {np.median(error):.1%}, p90 {np.percentile(error, 90):.1%}")


if __name__ == "__main__":
    main()
