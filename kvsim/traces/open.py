"""What TRACE means on the command line: a trace file, a workload YAML, or the name of a shipped workload."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvsim.errors import UserError, unknown
from kvsim.traces.context import check_context, within
from kvsim.traces.packs import is_document
from kvsim.traces.read import check_limit, derived_notes, read_trace
from kvsim.traces.trace import Trace

if TYPE_CHECKING:
    from kvsim.traces.workload import Workload

_YAML = (".yaml", ".yml")


def open_trace(
    text: str | Path,
    *,
    format: str | None = None,
    columns: Mapping[str, str] | None = None,
    time_unit: str | None = None,
    limit: int | None = None,
    dither: str | None = None,
    seed: int | None = None,
    tokenizer: str | None = None,
    block_tokens: int | None = None,
    max_context: int | None = None,
) -> tuple[Trace, "Workload | None"]:
    """The requests that `text` names, and the workload YAML if it names one. What is given here goes before the YAML.

    Raises:
        UserError: no such file or workload, or a fault in it: which, and what would be right.
    """
    path = _find(str(text))
    about_file: dict[str, Any] = {"format": format, "columns": columns, "time_unit": time_unit, "tokenizer": tokenizer}
    about_file |= {"block_tokens": block_tokens}
    if path.suffix not in _YAML:
        return read_trace(path, **about_file, limit=limit, dither=dither, seed=seed or 0, max_context=max_context), None

    from kvsim.specs.load import load  # pydantic and YAML: 0.1 s that a plain trace file need not pay
    from kvsim.traces.generate import generate
    from kvsim.traces.workload import Workload

    workload = load(Workload, path)
    seed = workload.seed if seed is None else seed
    limit = workload.limit if limit is None else limit
    max_context = workload.max_context if max_context is None else max_context
    if workload.generate:
        for option, value in {**about_file, "dither": dither}.items():
            if value:
                raise UserError(f"{path}: generates its requests: {option} is for trace files")
        check_limit(limit)
        spec = workload.generate
        if limit is not None:  # the first requests are the same however many are made
            spec = spec.model_copy(update={"requests": min(limit, spec.requests)})
        check_context(max_context)
        made = generate(spec, seed, path.stem, path.parent)
        if max_context is not None:
            made = within(made, max_context)
            made = replace(made, notes=(*made.notes, *derived_notes(made)))
        return made, workload
    source = path.parent / str(workload.trace)
    if source.suffix in _YAML:
        raise UserError(f"{path}: trace: must be a trace file, but got the YAML {source.name}")
    if not any(about_file.values()):
        about_file = {key: getattr(workload, "map" if key == "columns" else key) for key in about_file}
    more: dict[str, Any] = {"limit": limit, "dither": dither or workload.dither, "max_context": max_context}
    return read_trace(source, **about_file, **more, seed=seed), workload


def files(text: str | Path) -> list[Path]:
    """The files that `text` names: a trace, or a workload YAML and what it reads; for provenance."""
    path = _find(str(text))
    if path.suffix not in _YAML:
        return _in(path)
    from kvsim.specs.load import load
    from kvsim.traces.workload import Workload

    workload = load(Workload, path)
    arrivals = workload.generate and workload.generate.arrivals
    read = (workload.trace, workload.generate and workload.generate.lengths_from, arrivals and arrivals.trace)
    named = [path, *chain.from_iterable(_in(path.parent / name) for name in read if name)]
    if workload.generate and workload.generate.servegen:
        pool = path.parent / workload.generate.servegen.pool
        named += sorted(pool.glob("chunk-*")) if pool.is_dir() else [pool]
    return named


def _in(path: Path) -> list[Path]:
    """A trace file, or those of a folder."""
    return [file for file in sorted(path.iterdir()) if is_document(file)] if path.is_dir() else [path]


def _find(text: str) -> Path:
    path = Path(text)
    if not text:  # Path("") is the current folder
        from kvsim import find

        raise unknown("workload or trace file", text, find.names("workloads"))
    if path.suffix in _YAML or "/" in text or path.is_file():
        return path
    from kvsim import find

    shipped = find.names("workloads")
    if text in shipped:
        return find.ROOT / "workloads" / f"{text}.yaml"
    if path.suffix or path.is_dir():
        return path  # reading it says what is wrong
    raise unknown("workload or trace file", text, shipped)
