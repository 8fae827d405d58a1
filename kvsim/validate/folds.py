"""Whether held-out figures are the luck of one split: `python -m kvsim.validate.folds`. Needs scipy; takes minutes.

The GEMM curves of Hopper fitted to four fifths of the (n, k), judged on the last, five times: figures over all rows,
each of which was once held out. The folds are by a hash that is not the one of `rows.held_out`.
"""

import zlib

import numpy as np

from kvsim import find
from kvsim.cost.calibration import form
from kvsim.cost.curves import Floats
from kvsim.validate.fit import parameters
from kvsim.validate.ownplans import OWN
from kvsim.validate.plan import Plan
from kvsim.validate.published import read
from kvsim.validate.residuals import predicted, residuals
from kvsim.validate.rows import Rows

FOLDS = 5


def fold(n: float, k: float) -> int:
    """Which fold a layer is in."""
    return zlib.crc32(f"fold {n:.0f}x{k:.0f}".encode()) % FOLDS


def pooled(plan: Plan, rows: Rows) -> Floats:
    """Seconds of each row by the curve that did not see its layer."""
    part, took = find.part(plan.part), np.zeros(len(rows))
    layers = np.array([fold(n, k) for n, k in zip(rows.shape["n"], rows.shape["k"], strict=True)])
    for number in range(FOLDS):
        out = layers == number
        found, hot = parameters(plan, part, rows.where(~out))
        took[out] = predicted(form(plan.form)(**found), part, rows.where(out), hot)
    return took


def main() -> None:
    """Prints a line a curve."""
    for plan in OWN:
        if plan.op == "gemm" and (rows := read(plan.part, plan.op, plan.dtype, plan.tables, plan.where)):
            left = residuals(rows, pooled(plan, rows))
            print(f"{plan.part} gemm {plan.dtype}: {left.rows} rows, median {left.median:.1%}, p90 {left.p90:.1%}")


if __name__ == "__main__":
    main()
