"""Lists of names: commas separate names, and the elements of a parameter's list."""

import pytest

from kvsim.decide.names import listed
from kvsim.errors import UserError

KNOWN = ("full", "kivi", "snapkv", "heads")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("full", ["full"]),
        ("full,kivi", ["full", "kivi"]),
        (" full , kivi:bits=4 ", ["full", "kivi:bits=4"]),
        ("full,full", ["full"]),
        ("heads:layers=1,2,kivi", ["heads:layers=1,2", "kivi"]),
        ("heads:layers=1,2:k=3,4+kivi:bits=4,snapkv", ["heads:layers=1,2:k=3,4+kivi:bits=4", "snapkv"]),
        ("heads:layers=1+kivi,2", ["heads:layers=1+kivi", "2"]),  # kivi has no value that 2 could belong to
        ("kivi,kivy", ["kivi", "kivy"]),
        ("heads:of=full,kivi;snapkv", ["heads:of=full,kivi", "snapkv"]),
        (["heads:of=full,kivi", "snapkv"], ["heads:of=full,kivi", "snapkv"]),
    ],
)
def test_commas(text: str | list[str], names: list[str]) -> None:
    assert listed(text, KNOWN, "policy") == names


@pytest.mark.parametrize("text", ["", ",", "full,", "full,,kivi", ";", []])
def test_empty_names(text: str | list[str]) -> None:
    with pytest.raises(UserError, match="policy must be names separated by commas"):
        listed(text, KNOWN, "policy")
