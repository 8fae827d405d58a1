"""A spec file is read strictly: any fault is one line that says where and what, whatever the bytes."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvsim import find
from kvsim.errors import UserError
from kvsim.specs.hardware import Chip, Link, System
from kvsim.specs.load import load, read_yaml
from kvsim.specs.model import Model

LINK = "name: a link\nkind: pcie\nbandwidth: 31.5 GB/s\nlatency: 10 us\n"
MODEL = "name: m\nlayers: 2\nhidden: 8\nheads: 2\nkv_heads: 1\nhead_dim: 4\nffn: 8\nvocab: 10\nmax_context: 10\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


def fault(kind: type[Link] | type[Model], path: Path, text: str | bytes) -> str:
    """The message without the path, checked to be one line that begins with it."""
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as error:
        load(kind, path)
    message = str(error.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_the_samples_load(file: Path) -> None:
    file.write_text(LINK)
    assert load(Link, file).bandwidth == 31.5e9
    file.write_text(MODEL)
    assert load(Model, file).parameters > 0


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: pcie", "kind: pcie\nkind: nvlink", ":3: key 'kind' is given twice"),
        ("latency", "latancy", ": unknown key 'latancy': did you mean latency?"),
        ("latency", "colour", ": unknown key 'colour'; there are: bandwidth, kind, latency, max_chips, name, sources"),
        ("latency: 10 us\n", "", ": key 'latency' is missing"),
        ("31.5 GB/s", "31.5 GB", ": bandwidth: must have a unit of bytes_per_s such as '3 GB/s', but got unit 'GB'"),
        ("31.5 GB/s", "31.5", ": bandwidth: must be a number with a unit such as '3 GB/s', but got 31.5"),
        ("31.5 GB/s", "31", ": bandwidth: must be a number with a unit such as '3 GB/s', but got 31"),
        ("31.5 GB/s", "true", ": bandwidth: must be a number with a unit such as '3 GB/s', but got True"),
        ("31.5 GB/s", "1e9", ": bandwidth: must have a unit of bytes_per_s such as '3 GB/s', but got unit ''"),
        ("31.5 GB/s", "nan GB/s", ": bandwidth: must be a number with a unit"),
        ("31.5 GB/s", "1e400 GB/s", ": bandwidth: must be finite, but got '1e400 GB/s'"),
        ("31.5 GB/s", ".inf", ": bandwidth: must be a number with a unit"),
        ("31.5 GB/s", "-1 GB/s", ": bandwidth: input should be greater than 0"),
        ("pcie", "smoke", ": kind: must be pcie, nvlink, cxl, rdma or tcp, but got 'smoke'"),
        ("a link", "[a, link]", ": name: input should be a valid string"),
    ],
)
def test_link(file: Path, old: str, new: str, says: str) -> None:
    assert fault(Link, file, LINK.replace(old, new)).startswith(says)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "layers: 2",
            "layers: 1e9",
            ": layers: input should be a valid integer, but got '1e9' (YAML reads 1e9 as text",
        ),
        ("layers: 2", "layers: '2'", ": layers: input should be a valid integer"),
        ("layers: 2", "layers: yes", ": layers: input should be a valid integer"),
        ("layers: 2", "layers: 2.0", ": layers: input should be a valid integer"),
        ("layers: 2", "layers: 0", ": layers: input should be greater than 0"),
        ("layers: 2", "layers: " + "9" * 400, ": layers: input should be less than or equal to 1000000000"),
        ("name: m", "name: m\npublished: {parameters: 1e9}", ": published.parameters: input should be a valid number"),
        (
            "name: m",
            "name: m\npublished: {parameters: .nan}",
            ": published.parameters: input should be a finite number",
        ),
        ("name: m", "name: m\nwindow: {tokens: 9, layer: 1}", ": window: unknown key 'layer': did you mean layers?"),
        ("name: m", "name: m\nwindow: {tokens: 9, layers: 3}", ": window.layers must be at most layers (2), but got 3"),
        ("name: m", "name: m\ndtype: fp64", ": dtype: input should be 'bf16', 'fp16', 'fp8', 'int8' or 'int4'"),
        ("kv_heads: 1", "kv_heads: 3", ": heads must be a multiple of kv_heads, but got 2 and 3"),
    ],
)
def test_model(file: Path, old: str, new: str, says: str) -> None:
    assert fault(Model, file, MODEL.replace(old, new)).startswith(says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ": must hold `key: value` lines, but holds nothing"),
        (b"- a\n- b\n", ": must hold `key: value` lines, but holds a list"),
        (b"just words", ": must hold `key: value` lines, but holds one value"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", ": is not UTF-8 text"),
        (b"\x00\x01\x02", ": unacceptable character"),
        (b"1: 2\n", ": a key must be text, but got 1"),
        (b"? [a]\n: 1\n", ":1: a key must be plain text"),
        (b"a: [1, 2\n", ":2: did not find expected"),
        (b"a: 1\n---\nb: 2\n", ":2: but found another document"),
        (b"a: !!python/object/apply:os.getcwd []\n", ":1: could not determine a constructor for the tag"),
        (b'a: !!int ""\n', ": a value does not fit its `!!` tag"),
        (b"a: !!timestamp x\n", ": a value does not fit its `!!` tag"),
        (b"a: 2025-13-45\n", ": month must be in 1..12"),
        (b"a: &a 1\nb: *a\n", ":2: alias *a: write it out"),
        (b"[" * 100_000, ":1: is nested deeper than 32 levels"),  # PyYAML alone ends the process here
        (b"a: " + b"9" * 5000, ": Exceeds the limit (4300 digits)"),
        (b"a: 1\n" * 1_000_000, ": 5000000 bytes is too large for a YAML spec"),
    ],
    ids=lambda value: value[:16] if isinstance(value, bytes) else "",
)
def test_what_is_no_spec_at_all(file: Path, content: bytes, says: str) -> None:
    assert fault(Link, file, content).startswith(says)


def test_a_directory_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(UserError, match="No such file or directory"):
        read_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="null byte"):
        read_yaml(Path("a\0b"))


def test_code_may_pass_si_floats_where_a_file_must_name_a_unit() -> None:
    assert Link(name="l", kind="pcie", bandwidth=31.5e9, latency=1e-5).latency == 1e-5


YAML_WORDS = st.sampled_from(
    [*"[]{}:,-?*&!|>%@#'\"\n \t", "a: ", "- ", "!!int ", "!!bool ", "!!binary ", "1e9", "<<", "="]
)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode), st.lists(YAML_WORDS).map("".join)))
@example("a: !!timestamp x")
@example("a: &a [*a]")
def test_no_bytes_raise_anything_but_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes | str
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for kind in (Model, Chip, Link, System):
        try:
            load(kind, path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1


SHIPPED = sorted((find.ROOT / "hardware").glob("*/*.yaml")) + sorted((find.ROOT / "workloads/models").glob("*.yaml"))


@given(st.sampled_from(SHIPPED), st.data())
def test_no_damage_to_a_good_file_raises_anything_but_a_user_error(
    tmp_path_factory: pytest.TempPathFactory, source: Path, data: st.DataObject
) -> None:
    text = source.read_bytes()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    path = tmp_path_factory.getbasetemp() / "damaged.yaml"
    path.write_bytes(text[:start] + data.draw(st.binary(max_size=5)) + text[end:])
    for kind in (Model, Chip, Link, System):
        try:
            load(kind, path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1
