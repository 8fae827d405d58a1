"""Units: the table agrees with pint, and what is no quantity is refused."""

import contextlib
import math

import pint
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvsim.errors import UserError
from kvsim.units import UNITS, bytes_of, parse

SI = {
    "bytes": "byte",
    "bytes_per_s": "byte/second",
    "flops_per_s": "flop/second",
    "s": "second",
    "hz": "hertz",
    "w": "watt",
    "usd_per_h": "USD/hour",
    "usd": "USD",
    "iops": "IOPS",
    "tokens": "token",
}
PAIRS = [(dimension, unit) for dimension, units in UNITS.items() for unit in units]


@pytest.fixture(scope="module")
def registry() -> "pint.UnitRegistry[float]":
    made: pint.UnitRegistry[float] = pint.UnitRegistry()
    for name in ("flop = [] = FLOP", "USD = []", "token = [] = _ = tokens", "IOPS = []"):
        made.define(name)
    made.define("FLOPS = flop/second")
    return made


@pytest.mark.parametrize(("dimension", "unit"), PAIRS)
def test_the_table_agrees_with_pint(registry: "pint.UnitRegistry[float]", dimension: str, unit: str) -> None:
    expected = registry.Quantity(3.0, unit).to(SI[dimension]).magnitude
    assert parse(f"3 {unit}", dimension) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "dimension", "value"),
    [
        ("80 GB", "bytes", 80e9),
        ("80GiB", "bytes", 80 * 2**30),
        (" 3.35 TB/s ", "bytes_per_s", 3.35e12),
        ("12 us", "s", 12e-6),
        ("1_000 tokens", "tokens", 1000),
        (".5 ms", "s", 0.5e-3),
        ("2 TB/hour", "bytes_per_s", 2e12 / 3600),  # not in the table: pint knows it
        ("100 megabit/s", "bytes_per_s", 12.5e6),
    ],
)
def test_what_people_write(text: str, dimension: str, value: float) -> None:
    assert parse(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text", ["", "GB", "80", "80 GB/s", "80 gb flops", "80 W", "nan GB", "inf GB", "1e999 GB", "8 8 GB"]
)
def test_what_is_no_number_of_bytes(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        parse(text, "bytes")


@pytest.mark.parametrize("value", [80, 80.0, True, None, ["80 GB"], {"GB": 80}])
def test_a_number_without_a_unit_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must be a number with a unit"):
        parse(value, "bytes")


@settings(deadline=None)  # its first call may import pint
@given(st.text(max_size=20), st.sampled_from(sorted(UNITS)))
def test_any_text_is_a_finite_number_or_a_value_error(text: str, dimension: str) -> None:
    with contextlib.suppress(ValueError):
        assert math.isfinite(parse(text, dimension))


def test_bytes_of_a_command_line() -> None:
    assert (bytes_of("4096", "--set x"), bytes_of("4 GiB", "--set x")) == (4096, 4 * 2**30)
    with pytest.raises(UserError, match="--set x must"):
        bytes_of("four", "--set x")
