"""One curve to fit: to which rows, of which kernel, and where they come from."""

from dataclasses import dataclass, field

from kvsim.cost.calibration import Hot


@dataclass(frozen=True)
class Origin:
    """Who published measurements, and under which licence."""

    source: str
    licence: str


@dataclass(frozen=True)
class Plan:
    """One curve to fit.

    Attributes:
        given: parameters that are known rather than fitted; `start` replaces START's.
        where: what columns of a table of our own must hold.
        form: of the curve, if it is not its op's.
        switches: bounds of the classes of m, n and k that a table of residuals on top has.
        measured_on: the relative that was measured, if it was not `part`.
        host: the one that copies were measured on, where their seconds belong to it.
    """

    part: str
    op: str
    dtype: str
    kernel: str
    tables: tuple[str, ...]
    origin: Origin
    given: dict[str, float | int | bool] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    benchmark: Hot | None = None
    where: dict[str, str] = field(default_factory=dict)
    form: str = ""
    switches: tuple[tuple[float, ...], ...] = ()
    measured_on: str = ""
    host: str = ""
    fitted: str = "2026-11-23"
