"""Files that a study's options name, relative to the study's own folder."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvsim import find
from kvsim.errors import UserError

PAPERS = ("policy", "serving")
SET_PAPER = "prefix_eviction"


def located(name: str, folder: Path, trace: bool = False) -> str:
    """`name` itself, or the file in `folder` that it stands for: it has a slash, ends in .yaml, or a trace's suffix."""
    is_trace = trace and (Path(name).suffix or (folder / name).exists())
    is_file = "/" in name or name.endswith((".yaml", ".yml")) or is_trace
    return str(folder / name) if is_file else name


def located_papers(text: str, folder: Path) -> str:
    """`./mine.py:window=8+kivi` with each Python file by its place in `folder`."""
    parts = [part.partition(":") for part in text.split("+")]
    return "+".join(
        (str(folder / name) if name.endswith(".py") else name) + colon + more for name, colon, more in parts
    )


def located_tokenizer(name: str, folder: Path) -> str:
    """`name` itself (`chars:4`, a name that tiktoken knows), or the file or folder in `folder` that it stands for."""
    is_file = "/" in name or name.endswith(".json") or (folder / name).exists()
    return str(folder / name) if is_file else name


def read_by(points: Iterable[Mapping[str, Any]], folder: Path) -> list[Path]:
    """All files that points read, as far as they are found: what is missing is their points' mistake."""
    from kvsim.replay import DEFAULTS
    from kvsim.traces.open import files
    from kvsim.traces.tokenizer import FILE as TOKENIZER

    traces, machines, papers = dict[str, None](), dict[tuple[str, str], None](), dict[str, None]()
    tokenizers = dict[str, None]()
    for options in points:
        traces[options["trace"]] = None
        machines[options.get("hw", DEFAULTS["hw"]), options.get("model", DEFAULTS["model"])] = None
        papers |= dict.fromkeys(str(options[key]) for key in PAPERS if key in options)
        papers[str(options.get("set", {}).get(SET_PAPER, ""))] = None
        if named := options.get("tokenizer"):
            tokenizers[named] = None
    found: list[Path] = []
    for trace in traces:
        with suppress(UserError):
            found += files(located(trace, folder, trace=True))
    for hw, model in machines:
        with suppress(UserError):
            found += find.data_files(located(hw, folder), located(model, folder)).values()
    for text in papers:
        names = (part.partition(":")[0] for part in located_papers(text, folder).split("+"))
        found += [Path(name) for name in names if name.endswith(".py")]
    for name in tokenizers:
        path = Path(located_tokenizer(name, folder))
        found.append(path / TOKENIZER if path.is_dir() else path)
    return sorted({path.resolve() for path in found if path.is_file()})
