"""Client pools of ServeGen (github.com/alibaba/ServeGen, arXiv:2505.09999): many clients, each with its own bursts.

A pool is a folder, or a tar of one, with a pair of files for each client: `chunk-N-trace.csv` (a row for each 600 s:
start, requests per second, cv, Gamma or Weibull, shape, scale; no header) and `chunk-N-dataset.json` (for each 21,600 s
the probabilities of lengths, as texts of Python dictionaries).
"""

import ast
import json
import math
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from kvsim.errors import UserError
from kvsim.specs.load import Spec
from kvsim.traces.draw import Rng
from kvsim.traces.trace import MAX_TOKENS, Floats, Ints, Trace

if TYPE_CHECKING:
    from kvsim.traces.workload import Generate

WINDOW_S = 600.0
_FILE = re.compile(r"chunk-(\d+)-(trace\.csv|dataset\.json)")
_LAWS = {"Gamma", "Weibull", ""}
_MODALITIES = ("image", "audio", "video")
_MOST_BYTES = 1 << 30  # of a pool's files
_EMPTY_WINDOWS = 10_000


class ServeGen(Spec):
    """Requests of a pool's clients from `start_s` of its day on; after its last window it begins anew.

    In each window of 600 s a client sends its rate times 600 requests in the mean; their gaps follow its law and are
    stretched to fill the window. `rate_per_s` scales all clients alike, to that mean rate over the pool's day.
    """

    pool: str = Field(description="folder or tar of a pool, relative to the YAML")
    start_s: float = Field(default=0.0, ge=0, le=1e9)
    rate_per_s: float | None = Field(default=None, ge=1e-9, le=1e6)


@dataclass(frozen=True)
class _Lengths:
    """A law of token counts: values, and the probability of at most each."""

    tokens: Ints
    below: Floats

    def drawn(self, count: int, rng: Rng) -> Ints:
        tokens: Ints = self.tokens[np.searchsorted(self.below[:-1], rng.random(count) * self.below[-1], side="right")]
        return tokens


@dataclass(frozen=True)
class _Client:
    number: int
    windows: list[tuple[float, str, float]]  # (requests per second, law, shape) of each
    lengths: dict[float, dict[str, _Lengths]]  # begin in seconds -> column -> law

    def at(self, time_s: float) -> dict[str, _Lengths] | None:
        """The laws of lengths of a moment; None where the pool has none."""
        begins = [begin for begin in self.lengths if begin <= time_s]
        return (self.lengths[max(begins)] or None) if begins else None


def make(spec: ServeGen, generate: "Generate", seed: int, name: str, folder: Path) -> Trace:
    """The first `generate.requests` requests."""
    path = folder / spec.pool
    clients = _clients(path)
    day = max(len(client.windows) for client in clients)
    means = sum(sum(rate for rate, _, _ in client.windows) for client in clients) / day
    if not means > 0:
        raise UserError(f"{path}: no client sends requests")
    times = 1.0 if spec.rate_per_s is None else spec.rate_per_s / means
    made: list[Trace] = []
    rows = bare = empty = 0
    window = int(spec.start_s // WINDOW_S)
    while rows < generate.requests:
        part, without = _window(clients, window, day, times, seed, name)
        bare += without
        if part is None:
            empty += 1
            if empty > _EMPTY_WINDOWS:
                raise UserError(f"{path}: clients with lengths send hardly any requests; raise rate_per_s")
        else:
            made.append(part)
            rows += len(part)
        window += 1
    arrival_s, prompt, output = (
        np.concatenate([getattr(part, key) for part in made])[: generate.requests]
        for key in ("arrival_s", "prompt_tokens", "output_tokens")
    )
    notes = [f"{len(clients)} clients of {path.name}, their rates times {times:.4g}"]
    if any("image_tokens" in laws for client in clients for laws in client.lengths.values()):
        notes.append("prompts are texts and all images, audio and video together")
    if bare:
        notes.append("clients send requests in windows without lengths: those are left out")
    return Trace(name, arrival_s - arrival_s[0], prompt, output, notes=tuple(notes))


def _window(
    clients: list[_Client], window: int, day: int, times: float, seed: int, name: str
) -> tuple[Trace | None, int]:
    """All requests of a window by arrival, and how many have no lengths."""
    found, bare = [], 0
    for client in clients:
        rate_per_s, law, shape = client.windows[window % day] if window % day < len(client.windows) else (0.0, "", 1.0)
        rng = np.random.default_rng([seed, client.number, window])
        count = int(rate_per_s * times * WINDOW_S + rng.random())
        laws = client.at(window % day * WINDOW_S)
        if laws is None:
            bare += count
        if count and laws:
            gaps = _gaps(law, shape, count + 1, rng)
            arrival_s = window * WINDOW_S + np.cumsum(gaps)[:-1] * (WINDOW_S / gaps.sum())
            found.append((arrival_s, *_tokens(laws, count, rng)))
    if not found:
        return None, bare
    arrival_s, prompt, output = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(arrival_s, kind="stable")
    return Trace(name, arrival_s[order], prompt[order], output[order]), bare


def _gaps(law: str, shape: float, count: int, rng: Rng) -> Floats:
    """Gaps of any mean; at least one is above 0."""
    gaps = rng.standard_gamma(shape, count) if law == "Gamma" else rng.weibull(shape, count)
    return gaps if gaps.sum() > 0 and np.isfinite(gaps.sum()) else np.ones(count)


def _tokens(laws: dict[str, _Lengths], count: int, rng: Rng) -> tuple[Ints, Ints]:
    prompt = laws.get("input_tokens", laws.get("text_tokens"))
    assert prompt
    tokens = prompt.drawn(count, rng)
    for kind in _MODALITIES:
        if f"{kind}_tokens" in laws:
            each = laws[f"{kind}_tokens"].drawn(count, rng)
            many = laws[f"{kind}_count"].drawn(count, rng) if f"{kind}_count" in laws else 1
            tokens = tokens + each * many
    output = laws["output_tokens"].drawn(count, rng)
    return np.clip(tokens, 1, MAX_TOKENS), np.clip(output, 1, MAX_TOKENS)


def _clients(path: Path) -> list[_Client]:
    """The clients of a pool, by number."""
    texts: dict[int, dict[str, str]] = {}
    for name, text in _files(path):
        if match := _FILE.fullmatch(name.rsplit("/", 1)[-1]):
            texts.setdefault(int(match[1]), {})[match[2]] = text
    clients = []
    for number in sorted(texts):
        where = f"{path}: chunk-{number}"
        if "trace.csv" not in texts[number]:
            raise UserError(f"{where}-dataset.json has no chunk-{number}-trace.csv beside it")
        windows = _windows(texts[number]["trace.csv"], f"{where}-trace.csv")
        lengths = _datasets(texts[number].get("dataset.json", "{}"), f"{where}-dataset.json")
        clients.append(_Client(number, windows, lengths))
    if not clients:
        raise UserError(f"{path}: is no ServeGen pool: it has no files chunk-N-trace.csv")
    return clients


def _files(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of the files in a folder or tar."""
    try:
        if path.is_dir():
            for file in sorted(path.iterdir()):
                if _FILE.fullmatch(file.name):
                    yield file.name, file.read_text(encoding="utf-8")
            return
        with tarfile.open(path) as pool:
            left = _MOST_BYTES
            for member in pool:
                if member.isfile() and _FILE.fullmatch(member.name.rsplit("/", 1)[-1]):
                    left -= member.size
                    if left < 0:
                        raise UserError(f"{path}: has over {_MOST_BYTES:,} bytes of clients")
                    stream = pool.extractfile(member)
                    assert stream  # it is a file
                    yield member.name, stream.read().decode()
    except (OSError, tarfile.TarError, EOFError, UnicodeDecodeError, ValueError) as error:
        what = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read as a folder or tar of ServeGen clients: {what}") from None
    except Exception as error:  # damaged xz or zlib data, by classes of modules that may be absent
        if type(error).__module__ in ("lzma", "_lzma", "zlib"):
            raise UserError(f"{path}: the archive is damaged: {error}") from None
        raise


def _windows(text: str, where: str) -> list[tuple[float, str, float]]:
    rows: list[tuple[float, str, float]] = []
    for line, row in enumerate(filter(None, text.splitlines()), 1):
        cells = row.split(",")
        try:
            begin_s, rate, cv, shape = float(cells[0]), float(cells[1]), float(cells[2]), float(cells[4])
        except (ValueError, IndexError):
            raise UserError(f"{where}:{line}: must be start,rate,cv,law,shape,scale, but got {row[:60]!r}") from None
        law = cells[3].strip()
        if law not in _LAWS or begin_s != len(rows) * WINDOW_S or not 0 <= rate <= 1e6 or not math.isfinite(cv):
            raise UserError(
                f"{where}:{line}: must be the window at {len(rows) * WINDOW_S:g} s of a Gamma or Weibull law"
            )
        if rate and law and not 1e-4 <= shape <= 1e6:
            raise UserError(f"{where}:{line}: shape must be from 1e-4 to 1e6, but got {cells[4]}")
        rows.append((rate, law, shape if law else 1.0))  # a Weibull law of shape 1 is exponential
    if not rows:
        raise UserError(f"{where}: has no windows")
    return rows


def _datasets(text: str, where: str) -> dict[float, dict[str, _Lengths]]:
    try:
        windows = json.loads(text)
        items = [(float(begin), laws) for begin, laws in windows.items()]
    except (ValueError, AttributeError, RecursionError):
        raise UserError(f"{where}: must be a JSON object of windows by their start in seconds") from None
    return {begin: _laws(laws, f"{where}: {begin:g}") for begin, laws in items}


def _laws(columns: Any, where: str) -> dict[str, _Lengths]:
    """The laws of a window; none where one that is needed is empty."""
    if not isinstance(columns, dict):
        raise UserError(f"{where}: must be an object of columns")
    laws = {}
    for column, text in columns.items():
        if column == "output_tokens" or column.endswith(("_tokens", "_count")):
            law = _law(text, f"{where}: {column}")
            if law is not None:
                laws[column] = law
    complete = "output_tokens" in laws and ("input_tokens" in laws or "text_tokens" in laws)
    return laws if complete else {}


def _law(text: Any, where: str) -> _Lengths | None:
    """`{tokens: probability, ...}`, as text; None if empty."""
    try:
        law = ast.literal_eval(text) if isinstance(text, str) else text
        values = np.array([float(tokens) for tokens in law])
        shares = np.array([float(share) for share in law.values()])
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        raise UserError(f"{where}: must be a text such as '{{45: 0.25, 46: 0.75}}'") from None
    if not values.size or not shares.sum() > 0:
        return None
    if not (np.isfinite(shares).all() and shares.min() >= 0 and values.min() >= 0 and values.max() <= MAX_TOKENS):
        raise UserError(f"{where}: must be probabilities of 0 to {MAX_TOKENS} tokens")
    return _Lengths(np.rint(values).astype(np.int64), np.cumsum(shares))
