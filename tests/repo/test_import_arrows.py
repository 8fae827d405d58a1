"""Imports go one way: policies -> kvsim, kernels_ref -> both; kvsim finds policies by name, in one module."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = {"kvsim", "policies", "kernels_ref"}
MAY_IMPORT = {"kvsim": {"kvsim"}, "policies": {"policies", "kvsim"}, "kernels_ref": OURS}
HEAVY = {"torch", "triton"}
FILES = {package: sorted((ROOT / package).rglob("*.py")) for package in sorted(OURS)}
BY_NAME = "kvsim/find.py"  # the one module of kvsim that may name the other two


def imported(path: Path) -> Iterator[str]:
    """Top-level names that a module imports, anywhere in it, by statement or by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield path.relative_to(ROOT).parts[0] if node.level else (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__", "find_spec"):
            yield _text(node.args[0]).partition(".")[0]


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _text(node: ast.expr) -> str:
    """The leading text of an argument; nothing if it is computed."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else ""


@pytest.mark.parametrize("package", FILES)
def test_arrows(package: str) -> None:
    assert FILES[package]
    for path in FILES[package]:
        where = path.relative_to(ROOT).as_posix()
        allowed = MAY_IMPORT[package] | ({"policies", "kernels_ref"} if where == BY_NAME else set())
        wrong = (set(imported(path)) & OURS) - allowed
        assert not wrong, f"{where} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("package", ["kvsim", "policies"])
def test_nothing_here_imports_torch(package: str) -> None:
    for path in FILES[package]:
        wrong = set(imported(path)) & HEAVY
        assert not wrong, f"{path.relative_to(ROOT)} imports {', '.join(sorted(wrong))}"


def test_kvsim_reaches_policies_by_name_only() -> None:
    """No statement imports them: their names are found at run time, in one module."""
    for path in FILES["kvsim"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"policies", "kernels_ref"}, path.name
    assert "policies" in set(imported(ROOT / BY_NAME))


def test_simpy_is_imported_in_one_place() -> None:
    users = [path.relative_to(ROOT).as_posix() for path in FILES["kvsim"] if "simpy" in set(imported(path))]
    assert users == ["kvsim/engine/clock.py"]


def test_data_folders_hold_no_python() -> None:
    for folder in ("hardware", "workloads"):
        assert not list((ROOT / folder).rglob("*.py"))


def test_an_import_is_found_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kvsim" / "sly.py"
    path.parent.mkdir()
    path.write_text(
        "import importlib\nfrom . import x\ndef f(name):\n    import torch.nn\n    from policies.kv import full\n"
        "    importlib.import_module(f'kernels_ref.{name}')\n    importlib.import_module(name)\n"
    )
    monkeypatch.setitem(imported.__globals__, "ROOT", tmp_path)
    assert set(imported(path)) == {"importlib", "kvsim", "torch", "policies", "kernels_ref", ""}
