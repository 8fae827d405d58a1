"""Where an Op's seconds come from, and how far off to expect them."""

from collections.abc import Iterable
from dataclasses import dataclass

from kvsim.cost.calibration import Calibrated, Fitted, InSteps, borrowed_error

DATASHEET_ERROR = 0.25
# What measured chips and links showed when they were left out and priced by datasheet: each within this, in the median
# of a class's shapes (`kvsim validate --borrow`; hardware/calibration/left_out.csv). Other classes were not shown.
MARGINS = {
    "gemm": DATASHEET_ERROR,
    "attention_decode": DATASHEET_ERROR,
    "attention_prefill": DATASHEET_ERROR,
    "grouped_gemm": 0.35,  # a library's kernel computes padded rows at less than a usual share
    "all_reduce": 0.30,  # the protocols of short messages start and share the link differently
    "elementwise": 0.40,  # PyTorch's norms and activations are several kernels each, additions one that is faster
    "copy": DATASHEET_ERROR,
}
COPIES = "copies of 1 MB or more"  # shorter ones wait for a start of which links' files hold an assumption
HOSTS_APART = 0.36  # pageable copies on the two measured hosts: 20 and 22 % apart in the median, 26 and 36 % at p90


@dataclass(frozen=True)
class Source:
    """`text` for a report; `expected_error`: 9 of 10 held-out shapes were nearer, or what datasheet rates deserve."""

    text: str
    expected_error: float


DATASHEET = Source("datasheet", DATASHEET_ERROR)


def datasheet(kind: str) -> Source:
    """Datasheet rates of a class of Ops, with the margin that was shown for it."""
    return Source(DATASHEET.text, MARGINS.get(kind, DATASHEET_ERROR))


OVERLAY = Source("lanes and memory channels of an FPGA overlay, as FlightLLM's artifact states them", 0.10)


def of_curve(one: Fitted, curves: Calibrated, kernel: str = "") -> Source:
    """Of an Op priced by its shape; `kernel`: in other words than the curve's."""
    kernel = kernel or one.kernel
    error = (one.held_out_512 or one.held_out).p90
    if one.measured_on and one.where.get("memory") == "pageable":
        return Source(f"borrowed from the host {one.measured_on}: {kernel}", HOSTS_APART)
    if one.measured_on:
        return Source(f"borrowed from {one.measured_on}: {kernel}", error + borrowed_error(one.op))
    if curves.lender:
        return Source(f"borrowed from {curves.lender}: {kernel}", error + borrowed_error(one.op))
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
    usual = {source.expected_error: kinds for source, kinds in classes.items() if source.text == DATASHEET.text}
    found = [
        f"{_listed(kinds)}: {source.text}; {_bounds(source.expected_error)}"
        for source, kinds in classes.items()
        if source.text != DATASHEET.text
    ]
    for at, (error, kinds) in enumerate(sorted(usual.items())):
        what = f"{_listed(kinds)}: datasheet" if found or at or len(usual) > 1 else "kernel times are datasheet"
        found.append(f"{what} rates times a usual share per class: expect +-{error:.0%} on seconds{shown(kinds)}")
    return found


def shown(kinds: list[str]) -> str:
    """For which of some classes the margin is what measured chips showed when they were left out."""
    known = [COPIES if kind == "copy" else kind for kind in kinds if kind in MARGINS]
    if not known:
        return ", which no measured chip has shown"
    which = "" if len(known) == len(kinds) and COPIES not in known else f" for {_listed(known)}"
    return f" in the median, as measured chips that were left out show{which}"


def _bounds(error: float) -> str:
    return f"9 of 10 shapes within {error:.0%}" if error < DATASHEET_ERROR else f"expect +-{error:.0%}"


def _listed(kinds: list[str]) -> str:
    return ", ".join(kind.replace("_", " ") for kind in kinds)
