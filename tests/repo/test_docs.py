"""The docs' examples give what the docs say, their links lead somewhere, and what they name exists."""

import ast
import re
from pathlib import Path

import pytest
from doc_examples import ROOT, blocks, faults, matches, trimmed_alike

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IDS = [page.name for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_examples(page: Path, tmp_path: Path) -> None:
    wrong = list(faults(page, tmp_path))
    assert not wrong, "\n\n".join([*wrong, f"python tests/repo/doc_examples.py {page.relative_to(ROOT)} renews them"])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, heading = target.partition("#")
        if "://" in target:
            continue
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    written = {block.file for block in blocks(text) if block.file}
    tops = "kvsim|policies|hardware|workloads|tests|docs|kernels_ref|benchmarks"
    for name in re.findall(rf"`((?:{tops})/[\w./-]+)`", text):
        assert (ROOT / name).exists() or name in written, name


def test_each_invariant_has_its_number_its_check_and_its_test() -> None:
    """docs/architecture.md lists the numbers that the checker uses, each with tests that exist."""
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \|$", (ROOT / "docs/architecture.md").read_text(), re.MULTILINE)
    used = set(re.findall(r"_hold\((\d+)", (ROOT / "kvsim/engine/check.py").read_text()))
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))
    assert used <= {number for number, _, _ in rows}
    for number, _, where in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", where)
        assert named, number
        for file, test in named:
            tree = ast.parse((ROOT / file).read_text())
            assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, test)


def test_wrong_examples_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```console\n$ echo one\none\n$ echo two\nthree\n```\n"
        "```text note.txt\nhello\n```\n```console\n$ cat note.txt\nhello\n```\n"
        "```python\n>>> x = 1\n>>> x + 1\n2\n```\n```python\n>>> x + 2\n4\n```\n"
    )
    first, second = faults(page, tmp_path / "copy")
    assert "`echo two` should print\nthree\nbut printed\ntwo" in first
    assert "Expected:\n    4\nGot:\n    3" in second


def test_outputs_are_compared_line_by_line() -> None:
    assert matches(["a", "..."], ["a", "b", "c"])
    assert matches(["...", "c"], ["c"])
    assert not matches(["a", "c"], ["a", "b", "c"])
    assert not matches(["a"], ["a", "b"])
    assert trimmed_alike(["title 1", "...", "time to first token  5"], ["title 2", "x", "time to first token  6"]) == [
        "title 2",
        "...",
        "time to first token  6",
    ]
