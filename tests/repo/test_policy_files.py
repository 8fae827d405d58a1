"""One paper a file: each file in policies/ has one public class that says what it is, whose it is and what it takes."""

import dataclasses
import inspect
import re
from types import ModuleType
from typing import Any

import pytest

from kvsim import find
from kvsim.engine.serving import Serving
from kvsim.traits.eviction import Eviction
from kvsim.traits.policy import Paper

FOLDERS = {"kv": Paper, "serving": Serving, "prefix": Eviction}
CASES = [(folder, name) for folder in FOLDERS for name in find.paper_names(folder)]


def _class(folder: str, name: str) -> type[Any]:
    return find.paper("paper", folder, name)  # which says so if there is not exactly one


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_one_public_class_named_like_its_file(folder: str, name: str) -> None:
    kind = _class(folder, name)
    assert issubclass(kind, FOLDERS[folder])
    assert kind.__name__.lower() == name.replace("-", "")
    assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    others = [key for key in vars(_module(kind)) if not key.startswith("_") and key != kind.__name__]
    assert all(getattr(vars(_module(kind))[key], "__module__", None) != kind.__module__ for key in others), others


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_it_says_what_it_is(folder: str, name: str) -> None:
    kind = _class(folder, name)
    module = inspect.getdoc(_module(kind)) or ""
    assert module and kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")  # dataclass's own


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_it_names_its_source(folder: str, name: str) -> None:
    """An arXiv number or a repository; in other docstrings, which may name a conference instead."""
    kind = _class(folder, name)
    module = inspect.getdoc(_module(kind)) or ""
    if folder == "kv":
        assert kind.title
        assert name == "full" or kind.arxiv or kind.repo, "needs `arxiv` or `repo`"
        assert re.fullmatch(r"(\d{4}\.\d{4,5})?", kind.arxiv), kind.arxiv
        assert re.fullmatch(r"([\w.-]+/[\w.-]+)?", kind.repo), kind.repo
        for source in filter(None, (kind.arxiv,)):
            assert f"arXiv:{source}" in module
        return
    if folder == "prefix":
        assert kind.title and kind.source in module
    known = (
        r"arXiv:\d{4}\.\d{4,5}|[\w-]+/[\w-]+|(OSDI|SOSP|MLSys|ISCA|FAST|IBM Systems Journal) \d{4}|FasterTransformer"
    )
    assert re.search(known, module), module


@pytest.mark.parametrize(("folder", "name"), [case for case in CASES if case[0] != "serving"])
def test_every_parameter_is_documented(folder: str, name: str) -> None:
    kind = _class(folder, name)
    for field in dataclasses.fields(kind):
        assert re.search(rf"\b{field.name}\b(, \w+)*:", kind.__doc__ or ""), f"{name}: {field.name} is not explained"


def test_every_setting_is_documented() -> None:
    for field in dataclasses.fields(Serving):
        assert re.search(rf"\b{field.name}\b(, \w+)*:", Serving.__doc__ or ""), field.name


@pytest.mark.parametrize("name", find.paper_names("serving"))
def test_a_preset_adds_no_settings(name: str) -> None:
    own = {field.name for field in dataclasses.fields(_class("serving", name))}
    assert own == {field.name for field in dataclasses.fields(Serving)}


def _module(kind: type[Any]) -> ModuleType:
    found = inspect.getmodule(kind)
    assert found is not None
    return found
