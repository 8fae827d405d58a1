"""What several systems are held against: one trace, read once, and the product of names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypedDict

from kvsim import find
from kvsim.decide.names import listed
from kvsim.replay import DEFAULTS, serving_preset
from kvsim.traces.trace import Trace
from kvsim.traits.policy import policy as named_policy

Names = str | Iterable[str] | None


class Options(TypedDict, total=False):
    """Arguments of `kvsim.run` that hold for every run of a study."""

    settings: Mapping[str, Any] | None
    replicas: int | None
    tp: int | None
    fidelity: str
    seed: int | None
    limit: int | None
    columns: Mapping[str, str] | None
    trace_format: str | None
    time_unit: str | None
    dither: str | None
    tokenizer: str | None
    block_tokens: int | None
    max_context: int | None
    loop: str | None
    concurrency: int | None
    max_gap_s: float | None
    sessions_per_s: float | None
    reuse: str


@dataclass(frozen=True)
class System:
    """One machine with a policy and a serving preset, by name."""

    hw: str
    policy: str
    serving: str

    def __str__(self) -> str:
        return f"{self.hw} with {self.policy}" + (f" on {self.serving}" if self.serving != DEFAULTS["serving"] else "")


@dataclass(frozen=True)
class Study:
    """A trace and the systems to replay it on; `options` are `kvsim.run`'s, what a workload YAML asks for included."""

    trace: Trace
    systems: tuple[System, ...]
    model: str
    options: dict[str, Any]


# arguments of `open_trace`, and what a study calls them
_OF_TRACE = {"format": "trace_format"} | {
    key: key for key in ("columns", "time_unit", "dither", "tokenizer", "block_tokens", "max_context")
}


def study(
    trace: str | Path | Trace, hw: Names, policy: Names, serving: Names, model: str | None, options: Options
) -> Study:
    """Read the trace and check every name.

    Raises:
        UserError: names that do not exist, a fault in the trace.
        TypeError: an option that does not exist.
    """
    if strange := set(options) - set(Options.__annotations__):
        raise TypeError(
            f"unknown argument {', '.join(sorted(strange))}; there are: {', '.join(Options.__annotations__)}"
        )
    rest: dict[str, Any] = dict(options)
    given = {
        "hw": None if hw is None else listed(hw, find.names("hardware/systems"), "hw"),
        "policy": None if policy is None else listed(policy, find.paper_names("kv"), "policy"),
        "serving": None if serving is None else listed(serving, find.paper_names("serving"), "serving"),
    }
    fidelity = rest.setdefault("fidelity", "ideal")
    _check(given, model, fidelity)
    workload = None
    limit = rest.pop("limit", None)
    about = {ours: rest.pop(key, None) for ours, key in _OF_TRACE.items()}
    if isinstance(trace, Trace):
        trace = trace.head(limit) if limit else trace
    else:
        from kvsim.traces.open import open_trace

        trace, workload = open_trace(trace, limit=limit, seed=rest.get("seed"), **about)
    for key in ("replicas", "loop", "seed"):
        if rest.get(key) is None:
            rest[key] = getattr(workload, key, None)
    rest["settings"] = {**(getattr(workload, "set", None) or {}), **(rest.get("settings") or {})}
    chosen = {key: names or [getattr(workload, key, None) or DEFAULTS[key]] for key, names in given.items()}
    model = model or getattr(workload, "model", None) or DEFAULTS["model"]
    _check(chosen, model, fidelity)
    for name in chosen["serving"]:
        serving_preset(name, rest["settings"])
    systems = tuple(System(*names) for names in product(chosen["hw"], chosen["policy"], chosen["serving"]))
    return Study(trace, systems, model, rest)


def _check(names: Mapping[str, list[str] | None], model: str | None, fidelity: str) -> None:
    for name in names["hw"] or ():
        find.machine(name)
    for name in names["policy"] or ():
        named_policy(name, fidelity)
    for name in names["serving"] or ():
        serving_preset(name)
    if model is not None:
        find.model(model)
