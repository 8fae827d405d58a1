"""One line of results: a policy at a size on a text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from kernels_ref.quality.budget import Sized
from kernels_ref.quality.measures import Scores
from kernels_ref.quality.run import Retrieval, Stored


@dataclass(frozen=True)
class Row:
    """Attributes:
    policy: as it was named. budget: share of the full cache's bytes that was asked for; None: as published.
    setting: the policy with the size that was found for it. text, digest: what it read.
    share: of the full cache's bytes, as the cost side has it; basis says whether stored or read. reached: at most
        the budget.
    stored_share: what the twin's tensors took when the prompt was complete, over the full cache's.
    tokens_kept: mean over layers and kv heads.
    error ... perplexity_change: as in `kernels_ref.quality.measures`; of texts that follow the prompt.
    first_right ... second_log_p: as in `kernels_ref.quality.run.Retrieval`; of the needles.
    notes: what stands in for what.
    """

    policy: str
    budget: float | None
    setting: str
    text: str
    digest: str
    basis: str
    reached: bool
    share: float
    stored_share: float
    tokens_kept: float
    error: float | None = None
    error_p90: float | None = None
    kept_mass: float | None = None
    kl: float | None = None
    perplexity: float | None = None
    perplexity_full: float | None = None
    first_right: float | None = None
    first_log_p: float | None = None
    second_right: float | None = None
    second_log_p: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def perplexity_change(self) -> float | None:
        """Of the full cache's: 0.1 is 10 % more."""
        return (
            None if self.perplexity is None or not self.perplexity_full else self.perplexity / self.perplexity_full - 1
        )

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return {**asdict(self), "notes": list(self.notes), "perplexity_change": self.perplexity_change}


def row(
    policy: str, budget: float | None, sized: Sized, text: str, digest: str, scores: Scores | Retrieval, stored: Stored
) -> Row:
    """What was measured, in one line."""
    return Row(
        policy,
        budget,
        sized.text,
        text,
        digest,
        sized.basis,
        sized.reached,
        sized.share,
        stored.share,
        stored.kept,
        notes=stored.notes,
        **vars(scores),
    )


COLUMNS = tuple(field.name for field in fields(Row))
_WORDS = ("policy", "setting", "text", "digest", "basis")


def cells(one: Row) -> list[str]:
    """A row of a CSV, in the order of COLUMNS: figures at five significant digits, nothing for what is not there."""
    return [_cell(getattr(one, name)) for name in COLUMNS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return "; ".join(value)
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def of_cells(found: Mapping[str, str]) -> Row:
    """The row that `cells` wrote."""
    values: dict[str, Any] = {}
    for name in COLUMNS:
        text = found[name]
        if name in _WORDS:
            values[name] = text
        elif name == "notes":
            values[name] = tuple(text.split("; ")) if text else ()
        elif name == "reached":
            values[name] = text == "yes"
        else:
            values[name] = float(text) if text else None
    return Row(**values)
