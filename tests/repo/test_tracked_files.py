"""What the repository holds: no paths of somebody's machine, one version, short modules."""

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import kvsim

ROOT = Path(__file__).parents[2]
TEXT = {".py", ".md", ".yaml", ".yml", ".cfg", ".toml", ".csv", ".jsonl", ".json", ".txt", ""}
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|Users|root|work|tmp|opt|mnt|data|scratch)/[\w.-]+")
LONGEST = 300


def tracked() -> list[Path]:
    """Files that git has, or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_no_paths_of_a_machine() -> None:
    for path in tracked():
        if path.suffix in TEXT and path.name != "LICENSE":
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                found = MACHINE_PATH.search(line)
                assert not found, f"{path.relative_to(ROOT)}:{number}: {found and found[0]}"


def test_no_large_files() -> None:
    for path in tracked():
        assert path.stat().st_size < 1_000_000, path.relative_to(ROOT)


def test_one_version() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    version = setup["metadata"]["version"]
    assert version == kvsim.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version


def test_setup_maps_the_root() -> None:
    """A mapping other than "" -> "." would need an import hook, which loads classes twice."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options"]["package_dir"].split() == ["=", "."]
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "project" not in tools  # setup.cfg is the one place


def test_torch_comes_with_the_extra_only() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert not re.search(r"\b(torch|triton)\b", setup["options"]["install_requires"])
    assert {"torch", "triton"} <= set(re.findall(r"^\w+", setup["options.extras_require"]["kernels"], re.MULTILINE))


def test_long_modules_have_a_reason() -> None:
    reasons = (ROOT / "docs" / "decisions.md").read_text()
    for path in tracked():
        if path.suffix == ".py" and len(path.read_text().splitlines()) > LONGEST:
            assert f"`{path.relative_to(ROOT).as_posix()}`" in reasons, f"{path.name} is longer than {LONGEST} lines"
