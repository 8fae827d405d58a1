"""Strict YAML: duplicate, unknown and missing keys, wrong units and wrong types are errors of one line."""

from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from kvsim import units
from kvsim.errors import UserError, unknown

T = TypeVar("T", bound="Spec")
_KINDS = {type(None): "nothing", list: "a list"}
_BIG_FILE_BYTES = 4_000_000
_DEEP = 32  # PyYAML's composer recurses in C: some 10,000 levels end the process
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Spec(BaseModel):
    """A frozen noun read from YAML. Its fields are the file's keys. Text is no number, and `yes` no 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def _quantity(dimension: str) -> Any:
    """SI floats from code stay as they are; a file (`build`) must name a unit."""

    def read(value: object, info: ValidationInfo) -> float:
        return value if isinstance(value, float) and info.context != "file" else units.parse(value, dimension)

    return BeforeValidator(read)


Bytes = Annotated[float, _quantity("bytes")]
BytesPerS = Annotated[float, _quantity("bytes_per_s")]
FlopsPerS = Annotated[float, _quantity("flops_per_s")]
Seconds = Annotated[float, _quantity("s")]
Watts = Annotated[float, _quantity("w")]
Hertz = Annotated[float, _quantity("hz")]
UsdPerHour = Annotated[float, _quantity("usd_per_h")]
Usd = Annotated[float, _quantity("usd")]
Iops = Annotated[float, _quantity("iops")]
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader that refuses a key given twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if not isinstance(key, str | int | float | bool):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        result: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return result


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; any fault is a UserError naming file and line."""
    try:
        if path.stat().st_size > _BIG_FILE_BYTES:
            raise UserError(f"{path}: {path.stat().st_size} bytes is too large for a YAML spec")
        text = path.read_text(encoding="utf-8")
        _refuse_deep(text)
        data = yaml.load(text, _Loader)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{line}: {problem}") from None
    except (LookupError, AttributeError, TypeError, OverflowError):  # PyYAML on `!!int ""`, `!!bool x`, `!!timestamp x`
        raise UserError(f"{path}: a value does not fit its `!!` tag") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: must hold `key: value` lines, but holds {_KINDS.get(type(data), 'one value')}")
    for key in data:
        if not isinstance(key, str):
            raise UserError(f"{path}: a key must be text, but got {key!r}")
    return data


def _refuse_deep(text: str) -> None:
    """Raises a YAMLError for collections nested deeper than `_DEEP`, and for aliases (which can grow exponentially)."""
    depth = 0
    for event in yaml.parse(text, _Base):
        mark: Any = event.start_mark
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEP:
            raise yaml.MarkedYAMLError(problem=f"is nested deeper than {_DEEP} levels", problem_mark=mark)
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem=f"alias *{event.anchor}: write it out", problem_mark=mark)


def build(spec: type[T], data: dict[str, Any], where: str) -> T:
    """`spec` from what a file holds; the first fault becomes a UserError `where: key: ...`."""
    try:
        return spec.model_validate(data, context="file")
    except ValidationError as error:
        raise _explain(spec, min(error.errors(), key=_rank), where) from None


def load(spec: type[T], path: Path) -> T:
    """`spec` read from a YAML file."""
    return build(spec, read_yaml(path), str(path))


def _rank(fault: Any) -> tuple[bool, bool]:
    """Typos first (one explains a gap); of a union of a name and a mapping, the branch that was meant."""
    return fault["type"] != "extra_forbidden", fault["loc"][-1:] == ("str",) and isinstance(fault["input"], dict)


def _explain(spec: type[BaseModel], fault: Any, where: str) -> UserError:
    owner, keys = _walk(spec, fault["loc"])
    place = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        return unknown("key", keys[-1], owner.model_fields, where + "".join(f": {key}" for key in keys[:-1]))
    if fault["type"] == "missing":
        return UserError(f"{where}: key {place!r} is missing")
    got = fault["input"]
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, but got {str(got)[:60]!r}"
        if isinstance(got, str) and "e" in got.lower() and _is_number(got):
            message += " (YAML reads 1e9 as text: write 1.0e+9, or the whole number)"
    return UserError(f"{where}: {place + ': ' if place else ''}{message}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _walk(spec: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[type[BaseModel], list[str]]:
    """The model that holds the last key of pydantic's `loc`, and `loc` without the branches of unions."""
    keys: list[str] = []
    inner: dict[str, type[BaseModel]] = {}
    for part in loc:
        if inner and part in (*inner, "str"):
            spec, inner = inner.get(str(part), spec), {}
        elif isinstance(part, int):
            keys.append(str(part))
        else:
            spec = next(iter(inner.values()), spec)
            field = spec.model_fields.get(part)
            inner = _models(field.annotation) if field else {}
            keys.append(part)
    return spec, keys


def _models(annotation: Any) -> dict[str, type[BaseModel]]:
    """The models that a field's type names, by their names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation.__name__: annotation}
    return {name: kind for part in get_args(annotation) for name, kind in _models(part).items()}
