"""Quantities that humans write (`3.35 TB/s`) to SI floats.

A table of the usual spellings serves nearly every file; what it lacks goes to pint, which takes 0.2 s to import and so
stays off the path of a run. GB is 10^9, GiB is 2^30.
"""

import math
import re

from kvsim.errors import UserError

_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_QUANTITY = re.compile(r"\s*([-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")

# dimension -> {unit: factor to SI}
UNITS: dict[str, dict[str, float]] = {
    "bytes": {p + "B": f for p, f in (_PREFIX | _BINARY).items() if f >= 1},
    "bytes_per_s": {p + "B/s": f for p, f in (_PREFIX | _BINARY).items() if f >= 1},
    "flops_per_s": {p + "FLOP/s": f for p, f in _PREFIX.items() if f >= 1}
    | {p + "FLOPS": f for p, f in _PREFIX.items() if f >= 1},
    "s": {p + "s": _PREFIX[p] for p in ("", "m", "u", "n")} | {"min": 60.0, "h": 3600.0},
    "hz": {p + "Hz": _PREFIX[p] for p in ("", "k", "M", "G")},
    "w": {p + "W": _PREFIX[p] for p in ("", "k", "m")},
    "usd_per_h": {"USD/h": 1.0},
    "usd": {"USD": 1.0},
    "iops": {p + "IOPS": f for p, f in _PREFIX.items() if f >= 1},
    "tokens": {"tokens": 1.0, "ktokens": 1e3, "Mtokens": 1e6},
}
_PINT_UNIT = {
    "bytes": "byte", "bytes_per_s": "byte/second", "flops_per_s": "flop/second", "s": "second", "hz": "hertz",
    "w": "watt", "usd_per_h": "USD/hour", "usd": "USD", "iops": "IOPS", "tokens": "token",
}  # fmt: skip


def parse(text: object, dimension: str) -> float:
    """The SI value of `text` (such as "80 GB") in `dimension`, a key of UNITS.

    Raises:
        ValueError: not text with a unit, not finite, or another dimension.
    """
    if not isinstance(text, str):
        raise ValueError(f"must be a number with a unit such as {_example(dimension)}, but got {text!r}")
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f"must be a number with a unit such as {_example(dimension)}, but got {text!r}")
    number, unit = float(match[1].replace("_", "")), match[2]
    factor = UNITS[dimension].get(unit)
    if factor is None:
        value = _parse_with_pint(number, unit, dimension)
    else:  # dividing by 1e6 rounds once, multiplying by 1e-6 twice
        value = number * factor if factor >= 1 else number / round(1 / factor)
    if not math.isfinite(value):
        raise ValueError(f"must be finite, but got {text!r}")
    return value


def bytes_of(text: str, where: str) -> int:
    """Bytes of a command line's value: "4 GB", or a plain integer."""
    if re.fullmatch(r"\d+", text):
        return int(text)
    try:
        return round(parse(text, "bytes"))
    except ValueError as error:
        raise UserError(f"{where} {error}") from None


def _example(dimension: str) -> str:
    units = list(UNITS[dimension])
    return repr(f"3 {units[min(3, len(units) - 1)]}")


def _parse_with_pint(number: float, unit: str, dimension: str) -> float:
    problem = f"must have a unit of {dimension} such as {_example(dimension)}, but got unit {unit!r}"
    if not unit:
        raise ValueError(problem)
    import pint

    registry: pint.UnitRegistry[float] = pint.UnitRegistry()
    for name in ("flop = []", "USD = []", "IOPS = []", "token = []"):
        registry.define(name)
    try:
        return float(registry.Quantity(number, unit).to(_PINT_UNIT[dimension]).magnitude)
    except Exception:  # pint raises many kinds for text that is no unit
        raise ValueError(problem) from None
