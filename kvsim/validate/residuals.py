"""How far predictions are from measurements."""

from typing import Any

import numpy as np

from kvsim.cost.calibration import Hot, Residuals
from kvsim.cost.curves import Floats
from kvsim.validate.rows import Rows


def predicted(curve: Any, part: Any, rows: Rows, benchmark: Hot | None) -> Floats:
    """Seconds that a curve gives for rows on a chip, with what its benchmark left in L2; on a link, without."""
    if rows.op in ("all_reduce", "copy"):
        return np.asarray(curve.seconds(part, rows.keyed))
    return np.asarray(curve.seconds(part, rows.keyed, rows.hot(benchmark, part.l2)))


def residuals(rows: Rows, seconds: Floats) -> Residuals:
    """Figures of |predicted / measured - 1|, three digits."""
    error = seconds / rows.seconds - 1
    size = np.abs(error)
    worst = int(np.argmax(size))
    figures = (float(np.median(size)), float(np.percentile(size, 90)), float(error[worst]))
    median, p90, most = (round(figure, 4) for figure in figures)
    return Residuals(rows=len(rows), median=median, p90=p90, worst=most, worst_shape=rows.named(worst))


def residuals_512(rows: Rows, seconds: Floats) -> Residuals | None:
    """The same of GEMMs as large as models' layers; None for other Ops, and where all are."""
    if rows.op != "gemm":
        return None
    large = (rows.shape["n"] >= 512) & (rows.shape["k"] >= 512)
    return residuals(rows.where(large), seconds[large]) if not large.all() else None
