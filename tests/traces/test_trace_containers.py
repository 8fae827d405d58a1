"""Packed and columnar files give what the same rows give as plain text."""

import csv
import io
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from test_trace_sessions import same
from trace_samples import SAMPLES, Sample

from kvsim.errors import UserError
from kvsim.traces import formats
from kvsim.traces.read import read_trace

every_format = pytest.mark.parametrize("name", formats.names())


def zst(data: bytes) -> bytes:
    packed: bytes = pa.compress(data, codec="zstd", asbytes=True)
    return packed


def _written(folder: Path, data: bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(data)
    return path


def _typed(cells: list[str]) -> list[Any]:
    for kind in (int, float):
        try:
            return [kind(cell) for cell in cells]
        except ValueError:
            continue
    return cells


def _table(sample: Sample) -> pa.Table:
    text = sample.text()
    if text.startswith("{"):
        return pa.Table.from_pylist([json.loads(line) for line in text.splitlines()])
    header, *rows = csv.reader(io.StringIO(text))
    return pa.table({name: _typed(list(cells)) for name, cells in zip(header, zip(*rows, strict=True), strict=True)})


@every_format
@pytest.mark.parametrize("pack", [lzma.compress, zst])
def test_packed_samples_read_the_same(name: str, pack: Any, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    plain = read_trace(_written(tmp_path, sample.text().encode()), **sample.options)
    packed = pack(sample.text().encode())
    assert same(read_trace(_written(tmp_path, packed), **sample.options), plain)
    half = sample.text()[: len(sample.text()) // 2].encode()
    rest = sample.text().encode()[len(half) :]
    assert same(read_trace(_written(tmp_path, pack(half) + pack(rest)), **sample.options), plain)
    with pytest.raises(UserError, match="data is damaged or cut off"):
        read_trace(_written(tmp_path, packed[:-9]), **sample.options)


@pytest.mark.parametrize("name", [name for name in formats.names() if name not in ("kvsim", "dynamo")])
def test_parquet_reads_as_text_does(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    plain = read_trace(_written(tmp_path, sample.text().encode()), **sample.options)
    path = tmp_path / "trace.parquet"
    parquet.write_table(_table(sample), path, row_group_size=2)
    assert same(read_trace(path, **sample.options), plain)
    assert len(read_trace(path, limit=1, **sample.options)) == 1
    data = path.read_bytes()
    for bad in (data[:-9], data[:40], data[:60] + bytes(20) + data[80:]):
        path.write_bytes(bad)
        try:
            read_trace(path, **sample.options)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", [name for name, one in SAMPLES.items() if one.text()[0] == "{" and name != "kvsim"])
def test_an_array_reads_as_lines_do(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    plain = read_trace(_written(tmp_path, sample.text().encode()), **sample.options)
    rows = [json.loads(line) for line in sample.text().splitlines()]
    assert same(read_trace(_written(tmp_path, json.dumps(rows, indent=1).encode()), **sample.options), plain)
    with pytest.raises(UserError, match="entry 2: must be one JSON object, but is 7"):
        read_trace(_written(tmp_path, json.dumps([rows[0], 7]).encode()), **sample.options)


def test_a_document_is_no_csv(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is JSON over several lines or files; expected a CSV"):
        read_trace(_written(tmp_path, b'[{"a": 1}]'), format="azure")


def test_dates_and_faults_of_a_parquet_file(tmp_path: Path) -> None:
    stamps = pa.array([1_700_000_000_000_000_000, 1_700_000_000_500_000_000], pa.timestamp("ns", "UTC"))
    columns = {"TIMESTAMP": stamps, "ContextTokens": [5, 7], "GeneratedTokens": [1, 2], "note": ["a", "b"]}
    path = tmp_path / "azure.parquet"
    parquet.write_table(pa.table({**columns, "ContextTokens": [5, None]}), path)
    with pytest.raises(UserError, match=r"azure\.parquet: row 2: ContextTokens must be a whole number .*got None"):
        read_trace(path, format="azure")
    parquet.write_table(pa.table(columns), path)
    trace = read_trace(path, format="azure")
    assert (trace.name, trace.arrival_s.tolist()) == ("azure", [0, 0.5])
    with pytest.raises(UserError, match="unknown column 'Timestamp'"):
        read_trace(path, format="burstgpt")
    with pytest.raises(UserError, match="no trace format has the keys"):
        read_trace(path)


def test_odd_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    names = ["arrival.s", "in", "out"]
    columns = {"arrival": "arrival.s", "input": "in", "output": "out"}
    parquet.write_table(pa.table([[0.5, 1.5], [5, 6], [1, 2]], names=names), path)
    assert read_trace(path, columns=columns).arrival_s.tolist() == [0, 1]
    parquet.write_table(pa.table([[0.5], [5], [1], [2]], names=[*names, "out"]), path)
    with pytest.raises(UserError, match="exists 2 times"):
        read_trace(path, columns=columns)
    parquet.write_table(pa.table([[], [], []], names=names), path)
    with pytest.raises(UserError, match="has no requests"):
        read_trace(path, columns=columns)


def test_own_columns_in_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"arrival_s": [0.0, 0.5], "prompt_tokens": [5, 6], "output_tokens": [1, 2]}), path)
    assert read_trace(path).arrival_s.tolist() == [0, 0.5]


@given(data=st.binary(max_size=200))
@settings(max_examples=60, deadline=None, database=None)
def test_any_bytes_below_a_magic(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    for magic in (b"PAR1", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"):
        with pytest.raises(UserError) as caught:
            read_trace(_written(folder, magic + data))
        assert "\n" not in str(caught.value)
