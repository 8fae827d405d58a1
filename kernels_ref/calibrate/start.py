"""What both commands call: a calibration of the GPU at hand."""

from collections.abc import Sequence
from pathlib import Path

import torch

from kernels_ref.calibrate import driver, table
from kernels_ref.calibrate.rig import of_this_machine


def calibrate(out: Path, names: Sequence[str] = driver.CLASSES, fine: bool = False, scale: float = 1.0) -> list[str]:
    """Measures the current CUDA device into CSVs under `out`; returns the lines to show.

    Raises ValueError for an unknown class or a folder of another chip, RuntimeError without a CUDA device.
    """
    if wrong := [name for name in names if name not in driver.CLASSES]:
        raise ValueError(f"unknown class {wrong[0]!r}; there are {', '.join(driver.CLASSES)}")
    if not torch.cuda.is_available():
        raise RuntimeError("needs a CUDA device, and torch sees none")
    rig = of_this_machine()
    with torch.inference_mode():
        return driver.run(rig, out, names, fine, table.origin(rig.gauge.driver()), scale)
