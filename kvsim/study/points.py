"""A study's points: every combination of its axes as the options of one run, numbered in a fixed order."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvsim.errors import UserError
from kvsim.specs.load import build, read_yaml
from kvsim.study.spec import MOST_POINTS, SETTING, Options, Study


@dataclass(frozen=True)
class Plan:
    """A study laid out. `points[n]` holds the options of point n as the YAML gives them, `varied` those that differ."""

    name: str
    varied: tuple[str, ...]
    points: tuple[dict[str, Any], ...]
    folder: Path

    def shown(self, number: int) -> dict[str, Any]:
        """What sets point `number` apart from others: its values on the axes."""
        options = self.points[number]
        return {key: _at(options, key) for key in self.varied}


def plan(study: str | Path | Mapping[str, Any]) -> Plan:
    """The points of a study YAML, or of what one holds.

    Raises:
        UserError: a fault in it: an unknown key, a value of the wrong type, axes that do not fit together.
    """
    if isinstance(study, Mapping):
        data, where, folder = dict(study), "study", Path()
    else:
        data, where, folder = read_yaml(Path(study)), str(study), Path(study).parent
    spec = build(Study, data, where)
    lengths = [len(values) for values in spec.axes.values()]
    many = spec.repeat * ((lengths or [1])[0] if spec.combine == "zip" else math.prod(lengths))
    if many > MOST_POINTS:
        raise UserError(f"{where}: {many:,} points; a study has at most {MOST_POINTS:,}")
    for key, values in spec.axes.items():
        for value in values:
            build(Options, _with({"trace": "any", **spec.base}, {key: value}), f"{where}: axes: {key}: {value!r}")
    mixed = itertools.product(*spec.axes.values())
    if spec.combine == "zip" and spec.axes:
        mixed = zip(*spec.axes.values(), strict=True)  # type: ignore[assignment]
    points = []
    for together in mixed:
        options = _with(spec.base, dict(zip(spec.axes, together, strict=True)))
        build(Options, options, f"{where}: base")
        if spec.repeat > 1:
            first = options.get("seed") or 0
            points += [{**options, "seed": first + more} for more in range(spec.repeat)]
        else:
            points.append(options)
    varied = (*spec.axes, *(("seed",) if spec.repeat > 1 else ()))
    return Plan(spec.name, varied, tuple(points), folder)


def _with(options: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`options` with others on top; `set.KEY` goes into `set`."""
    found = dict(options)
    for key, value in more.items():
        if key.startswith(SETTING):
            found["set"] = {**found.get("set", {}), key.removeprefix(SETTING): value}
        else:
            found[key] = value
    return found


def _at(options: Mapping[str, Any], key: str) -> Any:
    return options["set"][key.removeprefix(SETTING)] if key.startswith(SETTING) else options[key]
