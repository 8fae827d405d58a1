"""Whatever is in a file, a reader gives a sound trace or a UserError of one line, and nothing else."""

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_samples import SAMPLES

from kvsim.errors import UserError
from kvsim.traces import formats, rows
from kvsim.traces.read import read_trace
from kvsim.traces.runs import expanded
from kvsim.traces.trace import MAX_TOKENS, Trace

quick = settings(max_examples=60, deadline=None, database=None)
figures = st.one_of(
    st.integers(-2, 5000).map(str),
    st.floats().map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.sampled_from(
        [
            "",
            "null",
            "true",
            "[]",
            "{}",
            '"1"',
            '"',
            "1_0",
            "+1",
            "\t3 ",
            "\x1c4",
            "٣",
            "1e5",
            "0x10",
            "2024-05-10 00:00:00",
        ]
    ),
    st.text(max_size=5),
)


def _outcome(data: bytes, **options: object) -> Trace | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace"
        path.write_bytes(data)
        try:
            trace = read_trace(path, **options)  # type: ignore[arg-type]
        except UserError as error:
            assert "\n" not in str(error)
            return None
    assert len(trace) == len(trace.prompt_tokens) == len(trace.output_tokens) > 0
    assert trace.arrival_s[0] == 0
    assert np.isfinite(trace.arrival_s).all()
    assert (np.diff(trace.arrival_s) >= 0).all()
    for tokens in (trace.prompt_tokens, trace.output_tokens):
        assert tokens.dtype == np.int64
        assert tokens.min() >= 1
        assert tokens.max() <= MAX_TOKENS
    if trace.blocks:
        assert len(trace.blocks.start) == len(trace) + 1
        assert trace.blocks.start[-1] == len(trace.blocks.ids)
        spare = trace.prompt_tokens - np.diff(expanded(trace.blocks).start) * trace.blocks.tokens
        assert (abs(spare) < trace.blocks.tokens).all()
    return trace


@given(st.binary(max_size=300))
@quick
def test_any_bytes(data: bytes) -> None:
    _outcome(data)
    _outcome(gzip.compress(data))
    _outcome(b"\x1f\x8b" + data)


@pytest.mark.parametrize("name", formats.names())
@given(data=st.data())
@quick
def test_bytes_below_a_sound_head(name: str, data: st.DataObject) -> None:
    start = SAMPLES[name].with_rows([]).encode()
    _outcome(start + data.draw(st.binary(max_size=200)), format=name, **SAMPLES[name].options)


@pytest.mark.parametrize("name", [name for name in formats.names() if not SAMPLES[name].of_text])
@given(data=st.data())
@quick
def test_near_valid_rows(name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    lines = [sample.line(i, *sample.good[i]) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 3))):
        row = data.draw(st.integers(0, 2))
        prompt, output = data.draw(st.tuples(figures | st.integers(0, 2000), figures | st.integers(0, 2000)))
        lines[row] = sample.line(row, prompt, output, data.draw(st.none() | figures))
    _outcome(sample.with_rows(lines).encode("utf-8", "surrogatepass"), **sample.options)


@pytest.mark.parametrize("name", formats.names())
@given(data=st.data())
@quick
def test_flipped_and_cut_bytes(name: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[name].text().encode())
    if data.draw(st.booleans()):
        content = bytearray(gzip.compress(bytes(content), mtime=0))
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(content)))
    _outcome(bytes(content[:end]), format=name, **SAMPLES[name].options)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2),
)


@given(st.dictionaries(st.sampled_from(["timestamp", "input_length", "output_length", "hash_ids"]), json_values))
@quick
def test_json_values_of_any_kind(row: dict[str, object]) -> None:
    _outcome((json.dumps(row) + "\n").encode(), format="mooncake")


@pytest.mark.parametrize("name", formats.names())
@given(data=st.data())
@quick
def test_fast_and_strict_parsers_agree(name: str, data: st.DataObject) -> None:
    """The fast way through a chunk gives what going value by value gives."""
    sample = SAMPLES[name]
    lengths = st.tuples(st.integers(0, 5000), st.integers(0, 5000))
    good = data.draw(st.lists(lengths, min_size=3, max_size=3))
    arrivals = data.draw(st.none() | st.floats(0, 1e9).map(repr) | st.integers(0, 10**9).map(str))
    text = sample.with_rows(sample.line(i, *good[i], arrivals) for i in range(3)).encode()
    fast = _outcome(text, **sample.options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "_fast_csv", lambda *_: None)
        patch.setattr(rows, "_fast_json", lambda *_: None)
        strict = _outcome(text, **sample.options)
    assert (fast is None) == (strict is None)
    if fast and strict:
        assert fast.arrival_s.tobytes() == strict.arrival_s.tobytes()
        assert fast.prompt_tokens.tobytes() == strict.prompt_tokens.tobytes()
        assert fast.output_tokens.tobytes() == strict.output_tokens.tobytes()


def _places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Paths to all values in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in _places(inner, (*path, key)))]


def _with(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    """A JSON document with another value at a path."""
    if not path:
        return new
    key, *rest = path
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = _with(value[key], tuple(rest), new)
    return changed


any_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=3,
)


@pytest.mark.parametrize("name", [name for name in formats.names() if SAMPLES[name].line(0, 700, 10).startswith("{")])
@given(data=st.data())
@quick
def test_any_value_anywhere(name: str, data: st.DataObject) -> None:
    sample = SAMPLES[name]
    rows = [json.loads(sample.line(i, *sample.good[i])) for i in range(3)]
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, 2))
        rows[at] = _with(rows[at], data.draw(st.sampled_from(_places(rows[at]))), data.draw(any_json))
    for spread in (False, True):  # a row a line, and a document over several
        text = json.dumps(rows, indent=1) if spread else sample.with_rows(map(json.dumps, rows))
        _outcome(text.encode(), format=name, **sample.options)
