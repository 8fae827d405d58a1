"""A policy: a product of traits, composed from papers by name: `snapkv:capacity=1024+kivi:bits=4`."""

import dataclasses
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from math import lcm
from typing import Any, ClassVar, Literal, Self, get_type_hints

from kvsim import find
from kvsim.errors import UserError, unknown
from kvsim.traits.encoding import Basis, Quantizer
from kvsim.traits.placement import Placement
from kvsim.traits.prefill import Prefill
from kvsim.traits.profile import ASSUMED, Figure
from kvsim.traits.retention import Retention
from kvsim.traits.selection import Selection
from kvsim.traits.sharing import Sharing
from kvsim.traits.trait import Trait

Fidelity = Literal["ideal", "published"]


@dataclass(frozen=True)
class Traits:
    """What one paper sets; None leaves a trait to others. `reuse` says whether equal prefixes share cache blocks."""

    retention: Retention | None = None
    basis: Basis | None = None
    quantizer: Quantizer | None = None
    sharing: Sharing | None = None
    selection: Selection | None = None
    placement: Placement | None = None
    prefill: Prefill | None = None
    reuse: Literal["prefix", "none"] = "prefix"


class Paper:
    """Base of the classes in `policies/kv`: a frozen dataclass of hyper-parameters that names its source."""

    title: str
    arxiv: str = ""
    repo: str = ""
    knob: str | tuple[str, ...] = ()  # the field that sets how much is stored (or read); several scale together
    above_full: str = ""  # what makes it store more than the full cache does at some length, if anything
    figures: ClassVar[Mapping[str, Figure]] = {}  # what its cost takes from data, as assumed

    def profile(self) -> Mapping[str, Figure]:
        """Figures that depend on data, by name: measured (`workloads/profiles/<policy>.yaml`), or else as assumed."""
        if not self.figures:
            return {}
        shipped = find.profile(type(self).__module__.rpartition(".")[2].replace("_", "-"))
        return {**self.figures, **shipped, **self.__dict__.get("_given", {})}

    def given(self, profile: Mapping[str, Figure]) -> Self:
        """The same paper with these figures of its profile; names that are not its own are left out."""
        other = copy(self)
        object.__setattr__(other, "_given", {name: profile[name] for name in self.figures if name in profile})
        return other

    def traits(self, fidelity: Fidelity) -> Traits:
        """What the method sets: as a good kernel allows (ideal), or as its released code does (published)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Policy:
    """All traits, each set."""

    name: str
    fidelity: Fidelity
    papers: tuple[Paper, ...]
    retention: Retention
    basis: Basis
    quantizer: Quantizer
    sharing: Sharing
    selection: Selection
    placement: Placement
    prefill: Prefill
    reuse: Literal["prefix", "none"]

    @property
    def traits(self) -> tuple[Trait, ...]:
        """All but the placement, which has no Ops on the chip."""
        return self.retention, self.basis, self.quantizer, self.sharing, self.selection, self.prefill

    @property
    def period(self) -> int:
        """stored(n + period) >= stored(n)."""
        return lcm(self.retention.period, self.quantizer.period)

    @property
    def assumed(self) -> tuple[str, ...]:
        """Figures of its papers' profiles that nobody measured, as `paper: figure`."""
        return tuple(
            f"{paper.title}: {name.replace('_', ' ')}"
            for paper in self.papers
            for name, figure in paper.profile().items()
            if figure.source == ASSUMED
        )


NULLS: dict[str, Any] = {
    "retention": Retention(),
    "basis": Basis(),
    "quantizer": Quantizer(),
    "sharing": Sharing(),
    "selection": Selection(),
    "placement": Placement(),
    "prefill": Prefill(),
}
SLOTS = tuple(NULLS)


def policy(text: str, fidelity: str = "ideal", profile: Mapping[str, Figure] | None = None) -> Policy:
    """The policy that `text` names; figures in `profile` hold instead of its papers' own.

    Raises:
        UserError: unknown paper, parameter or fidelity; two parts that set the same trait; a value out of range.
    """
    if fidelity not in ("ideal", "published"):
        raise UserError(f"fidelity must be ideal or published, but got {fidelity!r}")
    setters: dict[str, str] = {}
    chosen: dict[str, Any] = {}
    papers = []
    reuse: Literal["prefix", "none"] = "prefix"
    for part in text.split("+"):
        paper = _paper(part).given(profile or {})
        papers.append(paper)
        traits = paper.traits(fidelity)  # type: ignore[arg-type]
        if traits.reuse == "none":
            reuse = "none"
        for slot in SLOTS:
            trait = getattr(traits, slot)
            if trait is None:
                continue
            if slot in setters:
                raise UserError(f"policy {text!r}: {setters[slot]} and {part} both set {slot}; combine others")
            setters[slot], chosen[slot] = part, trait
    found = Policy(text, fidelity, tuple(papers), reuse=reuse, **(NULLS | chosen))  # type: ignore[arg-type]
    _check(found)
    return found


def _check(policy: Policy) -> None:
    """Refuse traits that differ, but cannot hold together.

    Raises:
        UserError: with the reason.
    """
    retention, where = policy.retention, f"policy {policy.name!r}"
    if retention.by_head and (policy.basis.joint or policy.basis.spans_heads or policy.quantizer.joint):
        raise UserError(f"{where}: heads keep different tokens, but are encoded together; combine others")
    if not retention.aligned and policy.sharing.aligned:
        raise UserError(f"{where}: layers keep different tokens, but share rows token by token; combine others")
    plain = type(policy.sharing) is Sharing and type(policy.basis) is Basis
    if policy.quantizer.predicts and not (retention.aligned and plain):
        raise UserError(f"{where}: layers are predicted from each other, so they keep all channels of the same tokens")
    if retention.classes > 1 and policy.selection.selects:
        raise UserError(f"{where}: a selection among several classes of tokens is not modelled; combine others")


def _paper(part: str) -> Paper:
    name, *pairs = part.strip().split(":")
    kind = find.paper("policy", "kv", name)
    return parameters(kind, pairs, f"policy {name!r}")  # type: ignore[no-any-return]


def parameters(kind: type[Any], pairs: list[str], where: str) -> Any:
    """`kind`, a frozen dataclass, with `k=v` texts converted to its fields' types."""
    hints = get_type_hints(kind)
    fields = [field.name for field in dataclasses.fields(kind)]
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"{where}: a parameter is name=value, but got {pair!r}")
        if key not in fields:
            raise unknown("parameter", key, fields, where)
        values[key] = converted(value, hints[key], f"{where}: {key}")
    try:
        return kind(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None


def converted(value: str, kind: Any, where: str) -> Any:
    """`value` as a bool, int, float or str."""
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[value.lower()]
        return kind(value)
    except (KeyError, ValueError):
        raise UserError(f"{where} must be {kind.__name__}, but got {value!r}") from None


def require(ok: bool, message: str) -> None:
    """Raise ValueError(message) unless ok: how a paper checks its hyper-parameters."""
    if not ok:
        raise ValueError(message)


def require_window(window: int, capacity: int) -> None:
    """Raise ValueError unless at least one token, and fewer than the capacity, are the window."""
    require(window >= 1, f"window must be at least 1, but got {window}")
    require(capacity > window, f"capacity must be more than window ({window}), but got {capacity}")
