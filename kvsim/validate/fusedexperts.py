"""What kvsim takes an engine's fused experts for, against vLLM's: `python -m kvsim.validate.fusedexperts`.

`kvsim/cost/experts.py` prices both products of a layer of experts as torch.mm's tiles started once, or as
torch._grouped_mm, whichever is faster. Nothing is fitted to the rows read here (hardware/calibration/README.md): one
layer's products, activation, permutation and sum, tokens spread evenly over the experts.
"""

from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.curves import Floats
from kvsim.cost.kernels import ACTIVATION_BYTES, elementwise, expert_gemms
from kvsim.cost.rates import Rates
from kvsim.find import ROOT
from kvsim.report.words import percent

MACHINES = {"h100": "h100-sxm", "h200": "h200-sxm"}
FEW = 16  # experts of a model of few, large ones
DECODES = 256  # tokens of a decode step at most


def frame(chip: str) -> Any:
    """Rows of a chip: tokens, active, experts, hidden, inner (of one chip), seconds."""
    import pandas as pd

    return pd.read_csv(ROOT / "hardware" / "calibration" / chip / "vllm_experts.csv.gz")


def errors(hw: str, rows: Any) -> Floats:
    """predicted / measured - 1 of each row on a machine."""
    rates = Rates.of(find.machine(hw), 1)
    tokens, active, experts, hidden, inner, took = (
        rows[name].to_numpy(np.float64) for name in ("tokens", "active", "experts", "hidden", "inner", "seconds")
    )
    through = tokens * active
    used = np.minimum(experts, through)
    ops = (
        expert_gemms("experts_up", through, used, 2 * inner, hidden),
        elementwise("experts_activation", through * inner * 3 * ACTIVATION_BYTES),
        expert_gemms("experts_down", through, used, hidden, inner),
        elementwise("experts_permute", through * hidden * 4 * ACTIVATION_BYTES, 2),
    )
    found: Floats = sum(np.asarray(rates.seconds(op)) for op in ops) / took - 1
    return found


def main() -> None:
    """Residuals of models of few experts and of many, in decodes and in prompts."""
    print(f"{'chip':<10}{'experts':<11}{'tokens':<15}{'rows':>6}{'middle':>9}{'median':>9}{'p90':>8}")
    for hw, chip in MACHINES.items():
        rows = frame(chip)
        error = errors(hw, rows)
        few, decodes = rows["experts"] <= FEW, rows["tokens"] <= DECODES
        for experts, these in ((f"up to {FEW}", few), (f"above {FEW}", ~few)):
            for tokens, some in ((f"up to {DECODES}", decodes), (f"above {DECODES}", ~decodes)):
                kept = error[(these & some).to_numpy()]
                size = np.abs(kept)
                figures = (np.median(kept), np.median(size), np.percentile(size, 90))
                middle, median, p90 = (percent(float(value)) for value in figures)
                print(f"{chip:<10}{experts:<11}{tokens:<15}{len(kept):>6}{middle:>9}{median:>9}{p90:>8}")


if __name__ == "__main__":
    main()
