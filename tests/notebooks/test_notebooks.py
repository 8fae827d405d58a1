"""The notebooks as committed: whole, small, clean, with outputs; they run from the root and from their own folder.

`python notebooks/execute.py --check` runs them all and compares what they print; it is a step of its own, of some 30 s.
"""

import ast
import base64
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
IDS = [path.stem for path in PATHS]
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|Users|root|work|tmp|opt|mnt|data|scratch)/[\w.-]+|site-packages")
MOST_PNG = 100_000


@pytest.fixture(scope="module")
def execute() -> ModuleType:
    """notebooks/execute.py."""
    for needed in ("nbformat", "nbclient", "ipykernel"):
        pytest.importorskip(needed, reason=f"{needed} is not installed (the extra `notebooks`)")
    spec = importlib.util.spec_from_file_location("execute_notebooks", ROOT / "notebooks" / "execute.py")
    assert spec and spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _read(path: Path) -> Any:
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (the extra `notebooks`)")
    return nbformat.read(path, as_version=4)


def test_there_are_eight() -> None:
    assert [stem[:2] for stem in IDS] == ["01", "02", "03", "04", "05", "06", "07", "08"]


@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_it_asks_a_question_and_answers_it(path: Path) -> None:
    cells = _read(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ") and "**Question:**" in cells[0].source
    printed = [output.text for cell in cells if cell.cell_type == "code" for output in cell.outputs if "text" in output]
    assert any(re.search(r"^Answer[:,].*\d", text, re.MULTILINE) for text in printed)


def _prints(source: str) -> bool:
    """Whether a cell prints when it is run, not only when a function of it is called."""
    statements = [node for node in ast.parse(source).body if not isinstance(node, ast.FunctionDef)]
    names = (node.func.id for one in statements for node in ast.walk(one) if _calls_a_name(node))
    return "print" in names


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_it_has_all_its_outputs_and_no_error(path: Path) -> None:
    plots = []
    for cell in _read(path).cells:
        if cell.cell_type != "code":
            continue
        assert all(output.output_type in ("stream", "display_data") for output in cell.outputs)
        assert all(output.get("name", "stdout") == "stdout" for output in cell.outputs), "something was said on stderr"
        pngs = [output.data["image/png"] for output in cell.outputs if output.output_type == "display_data"]
        assert len(pngs) == cell.source.count("plt.show()")
        assert cell.outputs or not _prints(cell.source), f"nothing printed by {cell.source}"
        plots += [base64.b64decode(png) for png in pngs]
    assert plots and all(png.startswith(b"\x89PNG") and len(png) < MOST_PNG for png in plots)


@pytest.mark.parametrize("path", PATHS, ids=IDS)
def test_it_is_clean(path: Path, execute: ModuleType) -> None:
    """No times, counters, paths or names of a machine: the same code is the same bytes."""
    notebook = _read(path)
    text = path.read_text()
    for cell in notebook.cells:
        for piece in (cell.source, *(str(output.get("text", "")) for output in cell.get("outputs", ()))):
            found = MACHINE_PATH.search(piece)
            assert not found, f"{found and found[0]} in {path.name}"
    execute.nbformat.validate(notebook)
    assert execute.nbformat.writes(execute.cleaned(notebook)) + "\n" == text


def test_one_runs_from_the_root_and_says_the_same(execute: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    path = ROOT / "notebooks" / "06_validate_on_your_gpu.ipynb"
    assert execute.differences(path, ROOT) == []


def test_differences_and_errors_are_found(
    execute: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = execute.nbformat.v4
    notebook = build.new_notebook(cells=[build.new_code_cell("x = 1"), build.new_code_cell("print('one', x)\nx")])
    path = tmp_path / "mine.ipynb"
    execute.nbformat.write(notebook, path)
    assert execute._run(path, check=False) == ""
    once = path.read_bytes()
    assert execute._run(path, check=False) == "" and path.read_bytes() == once
    assert execute.said(_read(path)) == ["", "one 1\n1\n"]
    path.write_text(path.read_text().replace("print('one', x)", "print('two', x)"))
    assert "cell 2 says\ntwo 1\n1\nbut is committed with\none 1" in execute._run(path, check=True)
    path.write_text(path.read_text().replace("x = 1", "x = 1 / 0"))
    assert "ZeroDivisionError" in execute._run(path, check=True)
    assert capsys.readouterr().out.count("WRONG") == 2
