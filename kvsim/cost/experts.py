"""Seconds of an MoE layer's products: by the grouped kernel that was measured, or as a fused one that loses nothing.

`torch._grouped_mm` pads each expert's rows to a tile and computes at a fraction of the peak until rows are many; few
large experts run faster as one `torch.mm` each. Engines fuse those into one launch by kernels of their own: they are
taken to be as good as torch.mm's tiles, one expert's after another's, started once. vLLM's are near that for few large
experts, and faster for many small ones (`python -m kvsim.validate.fusedexperts`).
"""

from typing import Any

import numpy as np

from kvsim.cost.calibration import Fitted
from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Chip

GROUPED = "grouped_gemm"


def seconds(grouped: Fitted, single: Fitted | None, chip: Chip, shape: Shape) -> Floats:
    """Of all experts' rows, by the faster way."""
    took: Floats = grouped.curve.seconds(chip, shape)
    return took if single is None else np.minimum(took, fused_s(single, chip, shape))


def fused_s(single: Fitted, chip: Chip, shape: Shape, launches: int = 1) -> Floats:
    """Of one GEMM an expert, each with the mean of their rows, in so many `launches` (0: one an expert)."""
    used = np.asarray(shape["used"], np.float64)
    start_s = single.curve.launch_s + single.curve.wave_s
    each: Floats = single.curve.seconds(chip, _each(shape))
    return used * each if not launches else launches * start_s + used * (each - start_s)


def parts(grouped: Fitted, single: Fitted | None, chip: Chip, shape: Shape) -> dict[str, Floats]:
    """The seconds that each bound of the faster way would take alone."""
    found: dict[str, Floats] = grouped.curve.parts(chip, shape)
    if single is None:
        return found
    used = np.asarray(shape["used"], np.float64)
    fused = fused_s(single, chip, shape) < grouped.curve.seconds(chip, shape)
    of_each = {name: used * took for name, took in single.curve.parts(chip, _each(shape)).items()}
    of_each["latency"] -= (used - 1) * (single.curve.launch_s + single.curve.wave_s)
    none = np.zeros(())
    return {
        name: np.where(fused, of_each.get(name, none), found.get(name, none))
        for name in dict.fromkeys((*found, *of_each))
    }


def named(grouped: Fitted, single: Fitted | None) -> str:
    """Both, in the words of a report."""
    return f"{grouped.kernel}, or of {single.kernel}'s tiles in one launch if faster" if single else grouped.kernel


def _each(shape: Shape) -> dict[str, Any]:
    """One expert's GEMM."""
    rows = np.asarray(shape["rows"], np.float64) / np.maximum(shape["used"], 1e-9)
    return {"m": rows, "n": shape["n"], "k": shape["k"], "dtype": shape["dtype"]}
