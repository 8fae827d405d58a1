"""What several commands read from their options: pairs, durations."""

import math
from collections.abc import Iterable

from kvsim import units
from kvsim.errors import UserError


def pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """`k=v` texts as a mapping; a later one wins.

    Raises:
        UserError: a text without a key, or without `=`.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key.strip() and equals):
            raise UserError(f"{option} must be NAME=VALUE, but got {text!r}")
        found[key.strip()] = value.strip()
    return found


def duration_s(text: str | None, option: str) -> float | None:
    """Seconds of "90" or "10 min"; None stays None.

    Raises:
        UserError: no number, not finite, no unit of time.
    """
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            return units.parse(text, "s")
        except ValueError as error:
            raise UserError(f"{option} {error}") from None
    if not math.isfinite(value):
        raise UserError(f"{option} must be finite, but got {text!r}")
    return value
