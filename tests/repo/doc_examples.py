"""The examples in the docs, run: `python tests/repo/doc_examples.py README.md` writes today's outputs into a page.

A fenced block is an example by its first line:

    ```console             `$ ` commands for bash, each followed by its output; a line `...` stands for any lines
    ```python              a doctest session if it has `>>>`, where `...` stands for any text
    ```yaml mine.yaml      a file, written before what follows is run

They run in a copy of the repository, in order, so that a page may add a policy or a trace format and use it.
"""

import doctest
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
COPIED = ("kvsim", "policies", "hardware", "workloads", "Makefile", "setup.cfg", "pyproject.toml")
_FENCE = re.compile(r"^```(\w*) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANY = "..."


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file it is to be written to, its text, and where the text begins."""

    language: str
    file: str
    text: str
    start: int


def blocks(page: str) -> Iterator[Block]:
    """All fenced blocks of a Markdown page."""
    for found in _FENCE.finditer(page):
        yield Block(found[1], found[2], found[3], found.start(3))


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that follow it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


class Checkout:
    """A copy of what runs, with `kvsim` on the path of its shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, folder)
        binaries = folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        for name, module in (("python3", ""), ("kvsim", "-m kvsim")):
            shim = binaries / name
            shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
        (folder / ".venv" / "for-runs").touch()  # `make run` finds it installed
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))},
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "PYTHONUTF8": "1",
            "COLUMNS": "96",
        }

    def shell(self, command: str) -> list[str]:
        """What a command prints, both streams, without blanks at line ends."""
        run = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=self.folder, env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            encoding="utf-8", timeout=120, check=False,
        )  # fmt: skip
        return [line.rstrip() for line in run.stdout.splitlines()]

    def write(self, block: Block) -> None:
        """Write a block to its file."""
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)


def matches(expected: list[str], printed: list[str]) -> bool:
    """Whether a command printed what a page says, `...` lines aside."""
    pattern = "".join(r"(?:.*\n)*" if line == _ANY else re.escape(line) + "\n" for line in expected)
    return re.fullmatch(pattern, "".join(line + "\n" for line in printed)) is not None


def session(block: Block, name: str, variables: dict[str, object]) -> str:
    """What is wrong with a doctest session; nothing if it is right."""
    test = doctest.DocTestParser().get_doctest(block.text, variables, name, name, 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(test, out=said.append, clear_globs=False)
    variables.update(test.globs)
    return "".join(said)


def faults(page: Path, folder: Path) -> Iterator[str]:
    """Run a page's examples: what each wrong one says and prints."""
    checkout, text = Checkout(folder), page.read_text()
    variables: dict[str, object] = {}
    for block in blocks(text):
        if block.file:
            checkout.write(block)
        elif block.language == "console":
            for command, expected in commands(block.text):
                printed = checkout.shell(command)
                if not matches(expected, printed):
                    said, got = "\n".join(expected), "\n".join(printed)
                    yield f"{page.name}: `{command}` should print\n{said}\nbut printed\n{got}"
        elif block.language == "python" and ">>>" in block.text:
            wrong = session(block, page.name, variables)
            if wrong:
                yield wrong


def renewed(page: Path, folder: Path) -> str:
    """The page with today's outputs in its console blocks; lines left out stay out."""
    checkout, text = Checkout(folder), page.read_text()
    parts, at = [], 0
    for block in blocks(text):
        if block.file:
            checkout.write(block)
        if block.file or block.language != "console":
            continue
        lines: list[str] = []
        for command, expected in commands(block.text):
            lines += [f"$ {command}", *trimmed_alike(expected, checkout.shell(command))]
        parts += [text[at : block.start], "".join(line + "\n" for line in lines)]
        at = block.start + len(block.text)
    return "".join([*parts, text[at:]])


def trimmed_alike(expected: list[str], printed: list[str]) -> list[str]:
    """`printed`, cut as `expected` is: parts between `...` begin with lines that begin alike, and are as long."""
    if _ANY not in expected:
        return printed
    kept: list[str] = []
    at, fresh = 0, True
    for line in expected:
        if line == _ANY:
            kept.append(line)
            fresh = True
            continue
        if fresh:
            at = next((i for i in range(at, len(printed)) if printed[i][:14] == line[:14]), at)
        if at < len(printed):
            kept.append(printed[at])
        at, fresh = at + 1, False
    return kept


if __name__ == "__main__":
    for argument in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as temporary:
            argument.write_text(renewed(argument, Path(temporary)))
