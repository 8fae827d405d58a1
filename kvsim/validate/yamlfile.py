"""Calibrations as files: written by the fit, read by everybody else."""

from typing import Any

from kvsim.cost.calibration import Calibration
from kvsim.find import ROOT

COMMAND = "python -m kvsim.validate.fit"


def write(name: str, found: Calibration) -> None:
    """`hardware/calibration/<name>.yaml`, in the order of the fields; numbers as YAML reads them."""
    lines = [f"# Written by `{COMMAND} {name}`; do not edit. Residuals: |predicted / measured - 1|, seconds are SI."]
    for key in ("curves", "in_steps"):
        entries = [entry.model_dump(exclude_none=True, exclude_defaults=True) for entry in getattr(found, key)]
        lines += [f"{key}:"] if entries else []
        for entry in entries:
            lines += [
                f"{'- ' if i == 0 else '  '}{field}: {_text(value)}" for i, (field, value) in enumerate(entry.items())
            ]
    if found.power:
        lines.append(f"power: {_text(found.power.model_dump())}")
    path = ROOT / "hardware" / "calibration" / f"{name}.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_text(one) for one in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        text = f"{value:g}"
        return text if "." in text else text.replace("e", ".0e") if "e" in text else f"{text}.0"
    if isinstance(value, int):
        return str(value)
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
