"""A measured chip as if it had not been: its machine with another chip's curves, or with none."""

from dataclasses import replace

from kvsim import find
from kvsim.cost.calibration import NOTHING, Calibrated
from kvsim.specs.hardware import Machine

DATASHEET = "datasheet"


def machine(hw: str, lender: str = "") -> Machine:
    """The machine that `hw` names, with the curves of the chip `lender`, or with none ("datasheet"); "": its own."""
    found = find.machine(hw)
    if not lender:
        return found
    lent = NOTHING if lender == DATASHEET else Calibrated(find.calibrated(lender).calibration, lender)
    return replace(found, curves=lent)
