"""What cuBLAS's choice of kernels costs the GEMM curve: `python -m kvsim.validate.chosen`. Needs scipy.

The form of `kvsim/cost/curves/tiles.py` fitted to the same half of a chip's rows, but each priced at the tile and split
that the library took (hardware/calibration/<chip>/gemm_kernels.csv.gz) rather than at the fastest. And how far two
boards of one chip are apart, at the same kernels.
"""

from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.curves import Floats
from kvsim.cost.curves.tiles import TILES, WIDE, TileGemmCurve, stall
from kvsim.find import ROOT
from kvsim.specs.hardware import Chip
from kvsim.validate.ownplans import AGAIN, CHIPS
from kvsim.validate.plans import MOST, START
from kvsim.validate.published import read
from kvsim.validate.rows import held_out
from kvsim.validate.solve import solve

LISTED_ON = "h100-sxm"  # whose kernels' names TILES is made of
NAME = r"tst_(\d+)x(\d+)_.*?_T(N[NT])"
TORCH = {"kernel": "torch.mm"}


def kernels(chip: str) -> Any:
    """bf16 GEMMs with `columns` and `rows` of their tile, `wide` if its columns are in warp groups, and `ctas`."""
    import pandas as pd

    frame = pd.read_csv(ROOT / "hardware" / "calibration" / chip / "gemm_kernels.csv.gz")
    frame = frame[frame["dtype"] == "bf16"].reset_index(drop=True)
    tile = frame["name"].str.extract(NAME)
    ctas = (
        frame["ctas"].str.split(" + ", regex=False).map(lambda all_of: next(int(one) for one in all_of if one != "0"))
    )
    held = [held_out(key) for key in zip(frame["n"], frame["k"], strict=True)]
    split = frame["name"].str.contains("splitK")
    return frame.assign(
        columns=tile[0].astype(float),
        rows=tile[1].astype(float),
        wide=tile[2] == "NT",
        ctas=ctas,
        split=split,
        held=held,
    )


def frequent(chip: str = LISTED_ON) -> set[tuple[int, int, bool]]:
    """(rows, columns, wide) of as many tiles as TILES has: those of most of the GEMMs that are not held out."""
    frame = kernels(chip)
    found = (
        frame[~frame["held"]].groupby(["rows", "columns", "wide"]).size().sort_values(ascending=False, kind="stable")
    )
    return {(int(rows), int(columns), bool(wide)) for rows, columns, wide in found.index[: len(TILES)]}


def listed() -> set[tuple[int, int, bool]]:
    """TILES likewise."""
    return {(*tile, number < len(WIDE)) for number, tile in enumerate(TILES)}


def seconds(curve: TileGemmCurve, chip: Chip, frame: Any) -> Floats:
    """Of each row at its tile and split."""
    m, n, k, rows, columns = (frame[name].to_numpy(float) for name in ("m", "n", "k", "rows", "columns"))
    stalled = stall(np.where(frame["wide"], rows, columns))
    tiles, compute, loads = curve.paces(chip, "bf16", m, n, rows, columns, stalled)
    parts = np.where(frame["split"], np.maximum(2, np.rint(frame["ctas"] / tiles)), 1)
    latency, waves, depth = curve.waves(chip, m, n, k, tiles, parts)
    memory, least = curve.whole(chip, "bf16", m, n, k)
    memory = memory * curve.held_up(chip, tiles, parts)
    of_k = (waves * depth) ** 4 * (compute**4 + loads**4 + curve.step_s**4)
    found: Floats = latency + np.maximum((of_k + memory**4) ** 0.25, least)
    found += m * n * (curve.epilogue_bytes / chip.memory.bandwidth)
    return found


def at_its_own(name: str) -> Floats:
    """|predicted / measured - 1| of the half that was not fitted, at the library's own tile."""
    import pandas as pd

    chip, start = find.part(name), START["tile_gemm"]
    rows = read(name, "gemm", "bf16", ("gemm.csv", *AGAIN.get((name, "gemm"), ())), TORCH)
    assert isinstance(chip, Chip) and rows is not None
    timed = pd.DataFrame({**rows.shape, "took": rows.seconds})
    frame = timed.merge(kernels(name), on=["m", "n", "k"])
    seen, held = frame[~frame["held"]], frame[frame["held"]]

    def build(x: Floats) -> TileGemmCurve:
        values = zip(start, np.exp(x).tolist(), strict=True)
        return TileGemmCurve(**{key: min(value, MOST.get(key, np.inf)) for key, value in values})

    first = np.log(np.array(list(start.values())))
    curve = build(solve(lambda x: np.log(seconds(build(x), chip, seen) / seen["took"].to_numpy()), first))
    found: Floats = np.abs(seconds(curve, chip, held) / held["took"].to_numpy() - 1)
    return found


def apart(name: str) -> Floats:
    """|second / first - 1| of shapes that two boards of a chip were timed at."""
    boards = []
    for table in ("gemm.csv", *AGAIN[name, "gemm"]):
        rows = read(name, "gemm", "bf16", (table,), TORCH)
        assert rows is not None
        boards.append(dict(zip(zip(*rows.shape.values(), strict=True), rows.seconds, strict=True)))
    first, second = boards
    return np.array([abs(second[shape] / first[shape] - 1) for shape in first if shape in second])


def main() -> None:
    """Residuals of the half that was not fitted: at the fastest tile, as committed, and at the library's own."""
    for name in CHIPS:
        known = find.calibrated(name).curve("gemm", "bf16")
        assert known
        print(f"{name}, the fastest tile:       median {known.held_out.median:.1%}, p90 {known.held_out.p90:.1%}")
        for words, error in (("the library's own tile:", at_its_own(name)), *_boards(name)):
            print(f"{name}, {words} median {np.median(error):.1%}, p90 {np.percentile(error, 90):.1%}")


def _boards(name: str) -> list[tuple[str, Floats]]:
    return [("two boards apart:      ", apart(name))] if (name, "gemm") in AGAIN else []


if __name__ == "__main__":
    main()
