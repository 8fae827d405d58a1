"""One point of a study, run: its figures as JSON text, or why there are none."""

import json
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kvsim.errors import UserError
from kvsim.study.paths import PAPERS, SET_PAPER, located, located_papers, located_tokenizer

Status = Literal["done", "mistake", "defect", "died"]


@dataclass(frozen=True)
class Outcome:
    """What came of point `number`. `text`: the figures as JSON if it is done, else one line that says why not.

    `mistake`: its options do not fit together, which another try cannot mend. `defect`: kvsim failed. `died`: the
    process that ran it did, twice.
    """

    number: int
    status: Status
    text: str

    @property
    def final(self) -> bool:
        """Whether a resumed sweep leaves it as it is."""
        return self.status in ("done", "mistake")


def outcome(number: int, options: dict[str, Any], folder: str) -> Outcome:
    """Run point `number`. Equal options give equal text: `wall_s` is left out.

    Args:
        folder: what paths in `options` are relative to.
    """
    try:
        return Outcome(number, "done", _figures(options, Path(folder)))
    except UserError as error:
        return Outcome(number, "mistake", " ".join(str(error).splitlines()))
    except MemoryError:
        return Outcome(number, "died", "out of memory")
    except Exception as error:  # a defect of ours, which must not end the other points
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Outcome(number, "defect", " ".join(f"{type(error).__name__} at {place}: {error}".splitlines()))


def _figures(options: dict[str, Any], folder: Path) -> str:
    from kvsim.replay import run
    from kvsim.specs.load import build
    from kvsim.study.spec import Options

    given = build(Options, options, "point")
    figures = run(
        located(given.trace, folder, trace=True),
        hw=given.hw and located(given.hw, folder),
        model=given.model and located(given.model, folder),
        policy=given.policy and located_papers(given.policy, folder),
        serving=given.serving and located_papers(given.serving, folder),
        settings={key: _setting(key, value, folder) for key, value in given.set.items()},
        replicas=given.replicas,
        tp=given.tp,
        fidelity=given.fidelity,
        seed=given.seed,
        limit=given.limit,
        until_s=given.until,
        warmup_s=given.warmup or 0.0,
        check=given.check,
        exact=given.exact,
        columns=given.map,
        trace_format=given.format,
        time_unit=given.time_unit,
        dither=given.dither,
        tokenizer=given.tokenizer and located_tokenizer(given.tokenizer, folder),
        block_tokens=given.block_tokens,
        max_context=given.max_context,
        loop=given.loop,
        concurrency=given.concurrency,
        max_gap_s=given.max_gap,
        sessions_per_s=given.sessions_per_s,
        reuse=given.reuse or "outputs",
    ).figures
    del figures["wall_s"]
    as_given = ("hw", "model", *PAPERS)  # not where the files are on this machine
    figures["names"].update({key: getattr(given, key) for key in as_given if getattr(given, key)})
    return json.dumps(figures, allow_nan=False)


def _setting(key: str, value: Any, folder: Path) -> Any:
    return located_papers(value, folder) if key == SET_PAPER and isinstance(value, str) else value
