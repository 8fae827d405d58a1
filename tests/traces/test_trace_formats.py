"""One list of checks for every trace format, found as the program finds them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from trace_samples import COLUMNS, SAMPLES

from kvsim.errors import UserError
from kvsim.traces import formats
from kvsim.traces.read import read_trace
from kvsim.traces.source import Source
from kvsim.traces.trace import Trace

every_format = pytest.mark.parametrize("name", formats.names())
with_figures = pytest.mark.parametrize("name", [name for name in formats.names() if not SAMPLES[name].of_text])


def _write(folder: Path, data: str | bytes) -> Path:
    path = folder / "trace"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def _read(folder: Path, name: str, data: str | bytes) -> Trace:
    return read_trace(_write(folder, data), **SAMPLES[name].options)


def _check(trace: Trace, name: str) -> None:
    sample = SAMPLES[name]
    assert trace.arrival_s.tolist() == list(sample.arrivals_s)
    assert list(zip(trace.prompt_tokens.tolist(), trace.output_tokens.tolist(), strict=True)) == list(sample.good)
    assert trace.prompt_tokens.dtype == trace.output_tokens.dtype == np.int64


def test_every_format_has_a_sample() -> None:
    assert sorted(SAMPLES) == formats.names()


@every_format
def test_format_says_what_it_is(name: str) -> None:
    module = formats.named(name)
    assert module.__doc__
    assert isinstance(module.STRICT, bool)


@every_format
def test_only_its_own_format_recognizes_a_sample(name: str, tmp_path: Path) -> None:
    with Source(_write(tmp_path, SAMPLES[name].text())) as opened:
        fits = [other for other in formats.names() if formats.named(other).sniff(opened.head)]
    assert fits == ([] if name.startswith("generic") else [name])


@every_format
@pytest.mark.parametrize("change", ["plain", "gzip", "crlf", "mark", "blank lines", "no last line end", "two gzips"])
def test_sample_reads(name: str, change: str, tmp_path: Path) -> None:
    text = SAMPLES[name].text()
    half = len(text) // 2
    data = {
        "plain": text.encode(),
        "gzip": gzip.compress(text.encode()),
        "crlf": text.replace("\n", "\r\n").encode(),
        "mark": b"\xef\xbb\xbf" + text.encode(),
        "blank lines": ("\n" + text.replace("\n", "\n\n")).encode(),
        "no last line end": text.rstrip().encode(),
        "two gzips": gzip.compress(text[:half].encode()) + gzip.compress(text[half:].encode()),
    }[change]
    _check(_read(tmp_path, name, data), name)


@every_format
def test_named_format_reads_the_same(name: str, tmp_path: Path) -> None:
    _check(read_trace(_write(tmp_path, SAMPLES[name].text()), format=name, **SAMPLES[name].options), name)


@every_format
def test_limit_reads_no_further(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    path = _write(tmp_path, sample.text())
    trace = read_trace(path, limit=2, **sample.options)
    assert trace.prompt_tokens.tolist() == [prompt for prompt, _ in sample.good[:2]]
    assert len(read_trace(path, limit=99, **sample.options)) == 3


@with_figures
@pytest.mark.parametrize(
    "bad", ["-1", "1.5", "nan", "NaN", "Infinity", '""', '"many"', "true", "1e400", "2e3", "9" * 30, "null"]
)
@pytest.mark.parametrize("field", ["prompt", "output"])
def test_bad_count_names_its_line(name: str, bad: str, field: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    figures = (bad, 1) if field == "prompt" else (30, bad)
    text = sample.with_rows([sample.line(0, *sample.good[0]), sample.line(1, *figures)])
    line = len(sample.head) + 2
    with pytest.raises(UserError, match=rf"trace:{line}: ") as caught:
        _read(tmp_path, name, text)
    assert "\n" not in str(caught.value)


@with_figures
@pytest.mark.parametrize(
    "bad", ["-1", "nan", "NaN", "Infinity", "-Infinity", '""', '"soon"', "true", "1e400", "-1e-9", "9" * 30, "null"]
)
def test_bad_arrival_names_its_line(name: str, bad: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    text = sample.with_rows([sample.line(0, *sample.good[0]), sample.line(1, 30, 1, bad)])
    with pytest.raises(UserError, match=rf"trace:{len(sample.head) + 2}: "):
        _read(tmp_path, name, text)


@every_format
def test_zero_tokens_are_dropped_and_counted_or_refused(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    text = sample.with_rows([sample.line(0, 700, 10), sample.line(1, 30, 0), sample.line(2, 1025, 200)])
    if formats.named(name).STRICT:
        with pytest.raises(UserError, match=rf":{len(sample.head) + 2}: its output must have at least 1 token"):
            _read(tmp_path, name, text)
        return
    trace = _read(tmp_path, name, text)
    assert trace.dropped == {"0 output tokens": 1}
    assert "rows dropped: 1 (0 output tokens)" in trace.notes
    assert trace.prompt_tokens.tolist() == [700, 1025]
    with pytest.raises(UserError, match="all 1 rows have zero tokens"):
        _read(tmp_path, name, sample.with_rows([sample.line(0, 30, 0)]))


@with_figures
def test_rows_out_of_order_are_sorted_or_refused(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    order = (0, 2, 1)
    text = sample.with_rows(sample.line(i, *sample.good[i]) for i in order)
    if formats.named(name).STRICT:
        with pytest.raises(UserError, match=rf":{len(sample.head) + 3}: arrives before the row above it"):
            _read(tmp_path, name, text)
        return
    trace = _read(tmp_path, name, text)
    _check(trace, name)
    assert any("sorted by arrival" in note for note in trace.notes)
    if trace.blocks:
        straight = _read(tmp_path, name, sample.text()).blocks
        assert straight
        pairs = set(zip(trace.blocks.ids.tolist(), straight.ids.tolist(), strict=True))
        assert (
            len(pairs) == len(set(trace.blocks.ids.tolist())) == len(set(straight.ids.tolist()))
        )  # equal but for names
        assert trace.blocks.start.tolist() == straight.start.tolist()


@every_format
def test_cut_files_are_refused(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    text = sample.text()
    with pytest.raises(UserError, match="gzip data is damaged or cut off"):
        _read(tmp_path, name, gzip.compress(text.encode())[:-9])
    with pytest.raises(UserError, match=rf"trace:{len(sample.head) + 3}: "):
        _read(tmp_path, name, text.rstrip()[: -len(sample.line(2, *sample.good[2])) // 2 or None])
    if sample.head:
        with pytest.raises(UserError, match="has no requests"):
            _read(tmp_path, name, sample.with_rows([]))


@every_format
def test_missing_columns_are_named(name: str, tmp_path: Path) -> None:
    text = SAMPLES[name].text().replace(SAMPLES[name].head[0] if SAMPLES[name].head else "", "a,b\n", 1)
    options = {**SAMPLES[name].options, "format": name}
    with pytest.raises(UserError, match=r"unknown column|has no '|'a,b'|invalid JSON|gave|a JSON"):
        read_trace(_write(tmp_path, text if SAMPLES[name].head else '{"a": 1}\n'), **options)


def test_quoted_line_ends_keep_the_line_numbers_right(tmp_path: Path) -> None:
    text = 'note,t,in,out\n"two\nlines",0,5,6\nplain,1,x,6\n'
    with pytest.raises(UserError, match=r"trace:4: in must be a whole number from 0 to 1073741824, but got 'x'"):
        read_trace(_write(tmp_path, text), columns=COLUMNS)


def test_blanks_around_figures_are_read(tmp_path: Path) -> None:
    trace = read_trace(_write(tmp_path, "t, in, out\n 0, 5, 6\n 1.5 ,7, 8 \n"), columns=COLUMNS)
    assert trace.arrival_s.tolist() == [0.0, 1.5]
    assert trace.prompt_tokens.tolist() == [5, 7]


@pytest.mark.parametrize(("unit", "seconds"), [("s", 1.5e9), ("ms", 1.5e6), ("us", 1.5e3), ("ns", 1.5)])
def test_time_units(unit: str, seconds: float, tmp_path: Path) -> None:
    text = "t,in,out\n1700000000,5,6\n3200000000,5,6\n"
    assert read_trace(_write(tmp_path, text), columns=COLUMNS, time_unit=unit).arrival_s.tolist() == [0.0, seconds]


def test_nanoseconds_since_1970_stay_exact(tmp_path: Path) -> None:
    text = "t,in,out\n1700000000000000001,5,6\n1700000000000000004,5,6\n"
    assert read_trace(_write(tmp_path, text), columns=COLUMNS, time_unit="ns").arrival_s.tolist() == [0.0, 3e-9]


def test_seventh_digit_of_a_stamp_counts(tmp_path: Path) -> None:
    rows = "2023-11-16 18:17:03.9799600,1,1\n2023-11-16 18:17:03.9799607,1,1\n"
    trace = read_trace(_write(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows))
    assert trace.arrival_s.tolist() == [0.0, 7e-7]


@pytest.mark.parametrize(
    "stamp", ["2023-13-01 00:00:00", "2023-11-16", "NaT", "2023-11-16 18:17:03+02:00", "now", "9999-01-01 00:00:00"]
)
def test_bad_stamps(stamp: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="trace:2: TIMESTAMP must be a UTC date"):
        read_trace(_write(tmp_path, f"TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp},1,1\n"))


def test_generic_json_lines(tmp_path: Path) -> None:
    text = '{"t": 1, "in": 5, "out": 6, "x": "ignored"}\n{"t": 2.5, "in": 7, "out": 8}\n'
    trace = read_trace(_write(tmp_path, text), columns=COLUMNS)
    assert trace.arrival_s.tolist() == [0.0, 1.5]


def test_llmservingsim_checks_token_ids(tmp_path: Path) -> None:
    row = '{"input_toks": 2, "output_toks": 1, "arrival_time_ns": 3, "input_tok_ids": %s}\n'
    assert read_trace(_write(tmp_path, row % "[4, 5]")).notes[0].startswith("prompts share what their token ids share")
    for bad in ("[4]", "[4, 5, 6]", "2", "null"):
        with pytest.raises(UserError, match="trace:1: input_tok_ids must be a list of 2 token ids"):
            read_trace(_write(tmp_path, row % bad))


@pytest.mark.parametrize("size", [512, 16, 32, 64, 128, 256, 1024])
@pytest.mark.parametrize("up", [True, False])
def test_mooncake_block_size_is_inferred(size: int, up: bool, tmp_path: Path) -> None:
    rows = []
    for prompt in (5000, 7777, 12345, 513):
        ids = list(range(-(-prompt // size) if up else prompt // size))
        rows.append(f'{{"timestamp": 0, "input_length": {prompt}, "output_length": 1, "hash_ids": {ids}}}\n')
    trace = read_trace(_write(tmp_path, "".join(rows)))
    assert trace.blocks
    assert trace.blocks.tokens == size
    assert f"block size {size} tokens" in trace.notes[0]
    assert f"rounded {'up' if up else 'down'}" in trace.notes[0]


def test_mooncake_refuses_a_block_size_that_does_not_fit(tmp_path: Path) -> None:
    sample = SAMPLES["mooncake"]
    text = sample.text() + '{"timestamp": 9000, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}\n'
    with pytest.raises(
        UserError, match=r"trace:4: a prompt of 6955 tokens with 2 hash_ids: expected 14 \(blocks of 512"
    ):
        read_trace(_write(tmp_path, text))


@pytest.mark.parametrize("ids", ["[1.5]", "[-1]", '["a"]', "7", "null", "[[1]]", "[true]", "[99999999999999999999]"])
def test_bad_hash_ids(ids: str, tmp_path: Path) -> None:
    text = f'{{"timestamp": 0, "input_length": 10, "output_length": 1, "hash_ids": {ids}}}\n'
    with pytest.raises(UserError, match="trace:1: hash_ids"):
        read_trace(_write(tmp_path, text))


def test_bailian_turns_are_linked_by_their_parents(tmp_path: Path) -> None:
    rows = [(7, -1, 1.0, 20), (8, -1, 2.0, 16), (9, 7, 3.5, 40), (10, 9, 4.0, 60), (11, 99, 5.0, 16)]
    text = "".join(
        f'{{"chat_id": {chat}, "parent_chat_id": {before}, "timestamp": {at}, "input_length": {tokens}, '
        f'"output_length": 3, "hash_ids": {list(range(-(-tokens // 16)))}}}\n'
        for chat, before, at, tokens in rows
    )
    trace = read_trace(_write(tmp_path, text))
    sessions = trace.sessions
    assert sessions and sessions.gap_s is None
    assert sessions.id.tolist() == [0, 1, 0, 0, 2]
    assert (sessions.parents.tolist(), sessions.start.tolist()) == ([0, 2], [0, 0, 0, 1, 2, 2])
    assert any("1 turns name a turn that is not above them" in note for note in trace.notes)
    lengths = '"input_length": 512, "output_length": 1, "hash_ids": [1]'
    wrong = f'{{"chat_id": 1, "parent_chat_id": -1, "timestamp": 1, {lengths}}}\n'
    with pytest.raises(UserError, match=r"expected 32 \(blocks of 16 tokens\)$"):
        read_trace(_write(tmp_path, wrong))
