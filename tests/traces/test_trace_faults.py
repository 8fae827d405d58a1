"""Files and options that no reader can make sense of, and files larger than one chunk."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from trace_samples import COLUMNS, SAMPLES

from kvsim.errors import UserError
from kvsim.traces import source
from kvsim.traces.read import read_trace

VIDUR = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def _write(folder: Path, data: str | bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (bytes(range(256)) * 40, "is not UTF-8 text"),
        (b"\x1f\x8b\x08\x00garbage", "gzip data is damaged"),
        (b"\x00" * 5000, "no trace format has the columns"),
        (b"hello\n", "no trace format has the columns 'hello'"),
        (b"{\n", "invalid JSON: unexpected end of data"),
        (b'[{"timestamp": 0}]\n', "no trace format has the keys 'timestamp'"),
        (b'[{"timestamp": 0, "input_length": 1, "hash_ids": []}]\n', "trace: entry 1: has no 'output_length'"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"\n", "invalid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}\n", "invalid JSON"),
        (b"x" * 10_000_000, "is longer than 8000000 bytes"),
        (b'{"a": "' + b"x" * 10_000_000 + b'"}\n', "no trace format has the keys 'a'"),
        (b'{"kvsim_trace": 1}\n{"a": "' + b"x" * 10_000_000 + b'"}\n', "is longer than"),
        (b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + b"1" * 10_000_000 + b"\n", "trace:2: is longer than"),
        (VIDUR.encode() + b"1,2\n", "trace:2: has 2 columns, expected 3"),
        (VIDUR.encode() + b"1,2,3,4\n", "trace:2: has 4 columns, expected 3"),
        (VIDUR.encode() + b'1,"2,3\n', "invalid CSV"),
        (VIDUR.encode() + b'1,"2\n\n\n",3\n1,x,3\n', "trace:6: num_prefill_tokens must be"),
        (b"arrived_at,num_prefill_tokens,num_decode_tokens\r1,2,3\r", "no trace format has the columns"),
        (b'""\n""\n', "no trace format has the columns"),
        (VIDUR.encode() + b"1," + b"2" * 200_000 + b",3\n", "CSV: field larger"),
        (b"num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n3,4,7,1\n", "lengths_from"),
        (b"a,a,num_prefill_tokens,num_decode_tokens,arrived_at,arrived_at\n1,1,1,1,1,1\n", "is there 2 times"),
        (b'{"session_id": 1, "arrival_time_ns": 0, "sub_requests": []}\n', "has no requests"),
        (b'{"session_id": 1, "delay": 5, "input_length": 1, "output_length": 1, "hash_ids": [1]}\n', "no timestamp"),
        (b'{"kvsim_trace": 2}\n', "kvsim_trace must be 1, but got 2"),
        (b'{"kvsim_trace": 1, "block_tokens": -1}\n', "block_tokens must be a whole number"),
        (b'{"kvsim_trace": 1, "notes": 3}\n', "notes must be a list"),
        (b'{"kvsim_trace": 1, "dropped": [3]}\n', "dropped must be an object"),
    ],
)  # fmt: skip
def test_bad_file_is_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_trace(_write(tmp_path, data))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


def test_missing_file_folder_and_name_with_nul(tmp_path: Path) -> None:
    for path in ("/nowhere/at/all.csv", tmp_path, "a\0b"):
        with pytest.raises(UserError, match="expected a trace file"):
            read_trace(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "azur"}, "did you mean azure"),
        ({"format": "generic"}, "needs --map"),
        ({"format": "azure", "columns": COLUMNS}, "map and time unit are for generic"),
        ({"columns": {"arival": "t"}}, "did you mean arrival"),
        ({"columns": {"arrival": "t"}}, "input is missing"),
        ({"columns": COLUMNS, "time_unit": "min"}, "time unit must be one of s, ms, us, ns"),
        ({"time_unit": "ms"}, "needs --map"),
        ({"limit": 0}, "limit must be at least 1"),
        ({"dither": "poisson"}, "unknown dither"),
        ({"seed": -1}, "seed must be from 0"),
        ({"columns": {**COLUMNS, "input": "inn"}}, "did you mean in"),
    ],
)
def test_bad_options(options: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_trace(_write(tmp_path, SAMPLES["generic"].text()), **options)  # type: ignore[arg-type]


def test_many_rows_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_READ_BYTES", 1000)
    monkeypatch.setattr("kvsim.traces.rows._CSV_ROWS", 7)
    monkeypatch.setattr("kvsim.traces.rows._JSON_CHARACTERS", 1500)
    rows = [f"{i / 4},{i + 1},{i % 5 + 1}\n" for i in range(1000)]
    path = _write(tmp_path, VIDUR + "".join(rows))
    trace = read_trace(path)
    assert trace.prompt_tokens.tolist() == list(range(1, 1001))
    rows[777] = "1,2,x\n"
    with pytest.raises(UserError, match="trace:779: num_decode_tokens"):
        read_trace(_write(tmp_path, VIDUR + "".join(rows)))
    lines = [SAMPLES["mooncake"].line(0, 100 + i, 5, 1000 + i) + "\n" for i in range(300)]
    assert read_trace(_write(tmp_path, "".join(lines))).prompt_tokens.tolist() == list(range(100, 400))
    lines[222] = "{}\n"
    with pytest.raises(UserError, match="trace:223: has no 'timestamp'"):
        read_trace(_write(tmp_path, "".join(lines)))


def test_memory_grows_by_the_columns_only(tmp_path: Path) -> None:
    """A row costs its figures in arrays, some 50 bytes: never an object. Checked between one chunk and five."""

    def peak_bytes(count: int) -> int:
        rows = "".join(f"{i / 4},{i % 900 + 1},{i % 5 + 1}\n" for i in range(count))
        path = _write(tmp_path, gzip.compress((VIDUR + rows).encode(), 1))
        del rows
        tracemalloc.start()
        try:
            assert len(read_trace(path)) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = 50_000, 250_000
    assert (peak_bytes(many) - peak_bytes(few)) / (many - few) < 150
