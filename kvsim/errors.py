"""Errors that a user can mend. Everything else that is raised is a defect of ours."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """One line: what is wrong, where, what would be right, what exists. Ends a command with exit code 2."""


def unknown(what: str, got: str, known: Iterable[str], where: str = "") -> UserError:
    """The error for a name that does not exist: the nearest names, or all of them when none is near."""
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=3, cutoff=0.5)
    place = f"{where}: " if where else ""
    if near:
        return UserError(f"{place}unknown {what} {got!r}: did you mean {' or '.join(near)}?")
    return UserError(f"{place}unknown {what} {got!r}; there are: {', '.join(names) or 'none'}")
