"""Where an Op's seconds come from, and how far off to expect them."""

from collections.abc import Iterable
from dataclasses import dataclass

from kvsim.cost.calibration import BORROWED_ERROR, Calibrated, Fitted, InSteps

DATASHEET_ERROR = 0.25
HOSTS_APART = 0.36  # pageable copies on the two measured hosts: 20 and 22 % apart in the median, 26 and 36 % at p90


@dataclass(frozen=True)
class Source:
    """`text` for a report; `expected_error`: 9 of 10 held-out shapes were nearer, or what datasheet rates deserve."""

    text: str
    expected_error: float


DATASHEET = Source("datasheet", DATASHEET_ERROR)
OVERLAY = Source("lanes and memory channels of an FPGA overlay, as FlightLLM's artifact states them", 0.10)


def of_curve(one: Fitted, curves: Calibrated, kernel: str = "") -> Source:
    """Of an Op priced by its shape; `kernel`: in other words than the curve's."""
    kernel = kernel or one.kernel
    error = (one.held_out_512 or one.held_out).p90
    if one.measured_on and one.where.get("memory") == "pageable":
        return Source(f"borrowed from the host {one.measured_on}: {kernel}", HOSTS_APART)
    if one.measured_on:
        return Source(f"borrowed from {one.measured_on}: {kernel}", error + BORROWED_ERROR)
    if curves.lender:
        return Source(f"borrowed from {curves.lender}: {kernel}", error + BORROWED_ERROR)
    return Source(f"curve of {kernel}, from {one.source}", error)


def in_step(coefficients: InSteps, one: Fitted, curves: Calibrated, dequantizes: bool) -> Source:
    """Of attention priced from a batch's sums; what it dequantizes is added to a kernel that was measured without."""
    curve = of_curve(one, curves)
    error = (curve.expected_error**2 + coefficients.against_curve.p90**2) ** 0.5
    error = coefficients.measured.p90 if coefficients.measured else error
    if dequantizes:
        return Source(f"{curve.text}, affine in a batch's sums, dequantizing added by datasheet", DATASHEET_ERROR)
    return Source(f"{curve.text}, affine in a batch's sums", error)


def mean_error(spent: Iterable[tuple[float, Source]]) -> float:
    """Expected errors weighted by the seconds that each source is spent on."""
    pairs = list(spent)
    total = sum(seconds for seconds, _ in pairs)
    return sum(seconds * source.expected_error for seconds, source in pairs) / total if total else DATASHEET_ERROR


def notes(spent: Iterable[tuple[str, Source]]) -> list[str]:
    """A sentence for each source, with the classes of Ops that it prices."""
    classes: dict[Source, list[str]] = {}
    for kind, source in spent:
        kinds = classes.setdefault(source, [])
        if kind not in kinds:
            kinds.append(kind)
    datasheet = classes.pop(DATASHEET, [])
    found = [f"{_listed(kinds)}: {source.text}; {_bounds(source.expected_error)}" for source, kinds in classes.items()]
    if datasheet:
        what = f"{_listed(datasheet)}: datasheet" if found else "kernel times are datasheet"
        found.append(f"{what} rates times a usual share per class: expect +-{DATASHEET_ERROR:.0%} on seconds")
    return found


def _bounds(error: float) -> str:
    return f"9 of 10 shapes within {error:.0%}" if error < DATASHEET_ERROR else f"expect +-{error:.0%}"


def _listed(kinds: list[str]) -> str:
    return ", ".join(kind.replace("_", " ") for kind in kinds)
