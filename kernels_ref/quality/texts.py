"""Texts that are on every machine: a licence, documentation and code of Python's standard library, or the user's file.

They are read by name, so that what a row of results was measured on can be had again; `digest` tells whether a Python's
library still says the same.
"""

import difflib
import hashlib
import heapq
import inspect
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from kernels_ref.quality.language import Language
from kvsim import find
from kvsim.errors import UserError

PROMPT_TOKENS, NEW_TOKENS = 1536, 64


def _licence() -> str:
    """The Apache License 2.0, as this project carries it."""
    try:
        return (find.ROOT / "LICENSE").read_text()
    except FileNotFoundError:
        try:
            package = distribution("kvsim")
            found = package.read_text("licenses/LICENSE") or package.read_text("LICENSE")
        except PackageNotFoundError:
            found = None
        if not found:
            raise UserError(
                "quality: kvsim's LICENSE, one of its texts, is not installed; name others: --text"
            ) from None
        return found


def _docs() -> str:
    """Docstrings of difflib."""
    matcher = difflib.SequenceMatcher
    parts = (
        *(difflib, matcher, difflib.Differ, difflib.get_close_matches, difflib.unified_diff, difflib.context_diff),
        *(difflib.ndiff, matcher.set_seqs, matcher.get_opcodes, matcher.ratio, matcher.get_matching_blocks),
    )
    return "\n\n".join(inspect.getdoc(part) or "" for part in parts)


def _code() -> str:
    """Source of heapq."""
    return inspect.getsource(heapq)


def _calibration() -> str:
    """Source and docstrings of statistics: for what methods train beforehand, and for nothing else."""
    return inspect.getsource(statistics)


TEXTS: dict[str, Callable[[], str]] = {"licence": _licence, "docs": _docs, "code": _code}
CALIBRATION: Callable[[], str] = _calibration


@dataclass(frozen=True)
class Passage:
    """A text cut in two: ids that are read at once, and ids that follow one by one.

    Attributes:
        name: of the text. prompt, following: ids. digest: of both, eight hexadecimal digits.
    """

    name: str
    prompt: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Tells apart what was read."""
        return digest((self.prompt, self.following))


def digest(ids: object) -> str:
    """Of tuples of ids: eight hexadecimal digits."""
    return hashlib.sha256(repr(ids).encode()).hexdigest()[:8]


def passage(language: Language, name: str, prompt: int = PROMPT_TOKENS, new: int = NEW_TOKENS) -> Passage:
    """The first `prompt` + `new` + 1 tokens of a text by name, or of a file: the last one is predicted only.

    Raises:
        UserError: there is no such text or file, or it is shorter.
    """
    ids = _ids(language, name)
    if len(ids) < prompt + new + 1:
        raise UserError(
            f"text {name}: must have {prompt + new + 1:,} tokens (--tokens plus --new plus 1), but has {len(ids):,}"
        )
    return Passage(Path(name).name, tuple(ids[:prompt]), tuple(ids[prompt : prompt + new + 1]))


def calibration(language: Language, tokens: int = PROMPT_TOKENS) -> tuple[int, ...]:
    """Ids of the text that methods train on."""
    return tuple(language.source.encode(CALIBRATION())[:tokens])


def _ids(language: Language, name: str) -> list[int]:
    if name in TEXTS:
        return language.source.encode(TEXTS[name]())
    path = Path(name)
    try:
        return language.source.encode(path.read_text())
    except UnicodeDecodeError:
        raise UserError(f"text {name}: is not UTF-8 text") from None
    except FileNotFoundError:
        raise UserError(f"text {name}: no such file, and none of {', '.join(TEXTS)}, needles") from None
    except OSError as error:
        raise UserError(f"text {name}: cannot be read: {error.strerror or error}") from None
