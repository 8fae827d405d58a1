"""Lists of names on a command line: `--policy full,snapkv:capacity=1024+kivi:bits=4`."""

import re
from collections.abc import Collection, Iterable

from kvsim.errors import UserError

_OPEN_VALUE = re.compile(r"=[^+:]*$")  # the last parameter of a name has begun its value


def listed(names: str | Iterable[str], known: Collection[str], what: str) -> list[str]:
    """The names in a text, or in a sequence of names, each once and in their order.

    Commas separate names. A comma also separates the elements of a parameter's list (`part:k=1,2`): what follows it
    belongs to the list unless it begins with a name in `known`. A text with a `;` is cut there only, so that a list
    may hold what is a name as well.

    Raises:
        UserError: no name, or an empty one; `what` says of which option.
    """
    if not isinstance(names, str):
        found = list(names)
    elif ";" in names:
        found = names.split(";")
    else:
        found = []
        for piece in names.split(","):
            name = re.split(r"[:+=]", piece.strip(), maxsplit=1)[0]
            if found and name not in known and _OPEN_VALUE.search(found[-1]):
                found[-1] += f",{piece}"
            else:
                found.append(piece)
    found = [name.strip() for name in found]
    if not found or not all(found):
        raise UserError(f"{what} must be names separated by commas, but got {names!r}")
    return list(dict.fromkeys(found))
