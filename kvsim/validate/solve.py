"""Least robust error over parameters on a logarithmic scale. Needs scipy."""

from collections.abc import Callable

import numpy as np

from kvsim.cost.curves import Floats

ROUNDS, STEP, CALLS = 3, 0.03, 400
LARGE = 0.1  # log errors beyond it count linearly
PULL = 0.002  # to the start, settles what the measurements do not show


def solve(errors: Callable[[Floats], Floats], x: Floats) -> Floats:
    """Parameters with the least robust error: Gauss-Newton for the smooth part, a simplex for tiles and splits."""
    from scipy.optimize import least_squares, minimize

    start, many = x, len(errors(x)) ** 0.5

    def held(x: Floats) -> Floats:
        """A weak pull to the start settles what the rows do not show."""
        return np.concatenate([errors(x), PULL * many * (x - start)])

    def robust(x: Floats) -> float:
        return float(np.mean(np.sqrt(held(x) ** 2 + 0.03**2)))

    for _ in range(ROUNDS):
        x = least_squares(held, x, loss="soft_l1", f_scale=LARGE, diff_step=STEP, max_nfev=40).x
        x = minimize(robust, x, method="Nelder-Mead", options={"maxfev": CALLS, "adaptive": True}).x
    return x


def digits(value: float) -> float:
    """Three significant ones: what is committed is what was fitted."""
    return float(f"{value:.3g}")
