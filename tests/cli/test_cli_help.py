"""Help, version and what they import."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

import kvsim
from kvsim.cli import listing
from kvsim.cli.main import COMMANDS, cli
from kvsim.report import catalogue

HEAVY = {"numpy", "pydantic", "yaml", "simpy", "rich", "pandas", "pint", "pyarrow", "matplotlib", "torch", "scipy"}


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        ctx = click.Context(command)
        for name in command.list_commands(ctx):
            found = command.get_command(ctx, name)
            assert found is not None
            yield from _commands(found, f"{path} {name}")


ALL = dict(_commands(cli, "kvsim"))


@pytest.mark.parametrize("path", ALL)
def test_every_command_shows_an_example_and_explains_its_options(path: str) -> None:
    command = ALL[path]
    text = click.Context(command, info_name=path).get_help()
    examples = re.findall(rf"^  {path} .+$", text, re.MULTILINE)
    assert examples or (isinstance(command, click.Group) and "  kvsim " in text), text
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_own_help_says(name: str) -> None:
    command = ALL[f"kvsim {name}"]
    assert (command.help or "").splitlines()[0] == COMMANDS[name][2]


def test_kinds_of_lists() -> None:
    assert tuple(catalogue.KINDS) == listing.KINDS


def _imported(process: Any) -> set[str]:
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err.decode()
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in err.decode().splitlines() if "|" in line}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_imports_only_click(start: Callable[..., Any], option: str) -> None:
    found = _imported(start(option, options=("-X", "importtime")))
    assert "click" in found
    assert not found & HEAVY


def test_a_run_imports_only_what_it_needs(start: Callable[..., Any], tiny: list[str]) -> None:
    found = _imported(start(*tiny, "--json", options=("-X", "importtime")))
    assert found & HEAVY == {"numpy", "pydantic", "yaml", "simpy"}


def test_version_and_bare_command(kvsim_cli: Callable[..., Any]) -> None:
    assert kvsim_cli("--version").out == f"kvsim {kvsim.__version__}\n"
    bare = kvsim_cli()
    assert bare.code == 0 and "Commands:" in bare.out
    group = kvsim_cli("model")
    assert group.code == 0 and "kvsim model import" in group.out
