"""Traces of whole documents: files, folders and archives, and what is wrong with some of them."""

import gzip
import io
import json
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest

from kvsim.errors import UserError
from kvsim.traces import packs
from kvsim.traces.open import files
from kvsim.traces.read import read_trace


def _session(name: str, prompt: int = 200) -> bytes:
    call = {"t": 0, "in": prompt, "out": 3, "hash_ids": list(range(prompt // 64))}
    return json.dumps({"id": name, "block_size": 64, "requests": [call]}, indent=1).encode()


FILES = {"a.json": _session("a", 200), "b.json": _session("b", 300)}


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        folder = tarfile.TarInfo("traces")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            member = tarfile.TarInfo(f"traces/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return made.getvalue()


def _prompts(path: Path, **options: Any) -> list[int]:
    prompts: list[int] = read_trace(path, **options).prompt_tokens.tolist()
    return prompts


def test_a_folder_and_archives_of_it_read_alike(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    assert _prompts(folder) == [200, 300]
    tar = _tar(FILES)
    for name, data in {"t.tar": tar, "t.tar.gz": gzip.compress(tar), "t.tar.xz": lzma.compress(tar)}.items():
        (tmp_path / name).write_bytes(data)
        assert _prompts(tmp_path / name) == [200, 300]
        assert _prompts(tmp_path / name, limit=1) == [200]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, lambda data: b"\xef\xbb\xbf" + data])
def test_one_document_over_several_lines(pack: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(pack(_session("a")))
    assert _prompts(path) == [200]


def test_a_line_above_the_limit_of_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    call = {"t": 0, "in": 2_000_000 * 64, "out": 3, "hash_ids": list(range(2_000_000))}
    path.write_text(json.dumps({"block_size": 64, "requests": [call]}))
    assert path.stat().st_size > packs.MAX_LINE_BYTES
    assert _prompts(path) == [128_000_000]


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(_tar({"README.md": b"#", "._a.json": b"\0", **FILES}))
    trace = read_trace(path)
    assert len(trace) == 2
    assert "files in it that are not read, because they are no .json: 2" in trace.notes


def test_provenance_names_the_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "notes.txt"):
        (tmp_path / name).write_bytes(_session("a"))
    assert files(tmp_path) == [tmp_path / "a.json", tmp_path / "b.json"]


def test_packs_without_documents(tmp_path: Path) -> None:
    (tmp_path / "t.tar").write_bytes(_tar({"README.md": b"#"}))
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder, tmp_path / "t.tar"):
        with pytest.raises(UserError, match=r"has no \.json files; expected a trace file, or a folder or tar archive"):
            read_trace(path)


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress])
def test_cut_archives_are_refused(packed: Any, tmp_path: Path) -> None:
    """Wherever it ends: within a file, within a header, between files, before the end mark."""
    whole, path = packed(_tar(FILES)), tmp_path / "t.tar"
    step = 256 if packed is bytes else 16
    for end in range(512 if packed is bytes else 30, len(whole) - (10_240 if packed is bytes else 0), step):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError) as caught:
            read_trace(path)
        assert "\n" not in str(caught.value)


def test_a_damaged_header_does_not_end_an_archive(tmp_path: Path) -> None:
    data = bytearray(_tar(FILES))
    header = data.index(b"traces/b.json")
    data[header : header + 8] = b"xxxxxxxx"
    path = tmp_path / "t.tar"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"damaged or cut off after {header} bytes"):
        read_trace(path)


def test_faults_name_the_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(_tar({**FILES, "c.json": b'{"block_size":\n64,}'}))
    with pytest.raises(UserError, match=r"t\.tar: traces/c\.json:2: invalid JSON: trailing comma .* at column 3"):
        read_trace(path)
    path.write_bytes(_tar({**FILES, "c.json": b'{"block_size": 64}'}))
    with pytest.raises(UserError, match=r"t\.tar: traces/c\.json: has no 'requests'; there are: block_size"):
        read_trace(path)
    path.write_bytes(_tar({**FILES, "c.json": b"3"}))
    with pytest.raises(UserError, match=r"c\.json: must be one JSON object, but is 3"):
        read_trace(path)


def test_rows_are_not_read_from_documents(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"arrived_at": 1}]')
    with pytest.raises(UserError, match="expected a CSV, or one JSON object a line"):
        read_trace(path, format="vidur")


def test_documents_larger_than_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MAX_DOCUMENT_BYTES", 100)
    (tmp_path / "a.json").write_bytes(_session("a"))
    with pytest.raises(UserError, match=r"a\.json: is longer than 100 bytes"):
        read_trace(tmp_path)
