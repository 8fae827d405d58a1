"""Strict YAML: duplicate, unknown and missing keys, wrong units and wrong types are errors of one line."""

from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from kvsim import units
from kvsim.errors import UserError, unknown

T = TypeVar("T", bound="Spec")
_BIG_FILE_BYTES = 4_000_000
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Spec(BaseModel):
    """A frozen noun read from YAML. Its fields are the file's keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _quantity(dimension: str) -> Any:
    return BeforeValidator(lambda value: value if isinstance(value, float) else units.parse(value, dimension))


Bytes = Annotated[float, _quantity("bytes")]
BytesPerS = Annotated[float, _quantity("bytes_per_s")]
FlopsPerS = Annotated[float, _quantity("flops_per_s")]
Seconds = Annotated[float, _quantity("s")]
Watts = Annotated[float, _quantity("w")]
Hertz = Annotated[float, _quantity("hz")]
UsdPerHour = Annotated[float, _quantity("usd_per_h")]


class _Loader(_Base):  # type: ignore[misc]
    """PyYAML's safe loader that refuses a key given twice and never builds aliases of aliases."""

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
        data = yaml.load(text, _Loader)  # noqa: S506 (a safe loader)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not UTF-8 text") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path}{line}: {problem}") from None
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise UserError(f"{path}: must hold `key: value` lines, but holds {type(data).__name__}")
    return data


def build(spec: type[T], data: dict[str, Any], where: str) -> T:
    """`spec` from plain data; the first fault becomes a UserError `where: key: ...`."""
    try:
        return spec(**data)
    except ValidationError as error:
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")  # a typo explains a gap
        raise _explain(spec, faults[0], where) from None


def load(spec: type[T], path: Path) -> T:
    """`spec` read from a YAML file."""
    return build(spec, read_yaml(path), str(path))


def _explain(spec: type[BaseModel], fault: Any, where: str) -> UserError:
    keys = [str(part) for part in fault["loc"]]
    place = ".".join(keys)
    if fault["type"] == "extra_forbidden":
        owner = _owner(spec, keys[:-1])
        return unknown("key", keys[-1], owner.model_fields if owner else [], where + "".join(f": {k}" for k in keys[:-1]))
    if fault["type"] == "missing":
        return UserError(f"{where}: key {place!r} is missing")
    got = fault["input"]
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if fault["type"] != "value_error":
        message = f"{message[:1].lower()}{message[1:]}, but got {str(got)[:60]!r}"
        if isinstance(got, str) and "e" in got.lower() and _is_number(got):
            message += " (YAML reads 1e9 as text: write 1.0e+9)"
    return UserError(f"{where}: {place + ': ' if place else ''}{message}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _owner(spec: type[BaseModel], path: list[str]) -> type[BaseModel] | None:
    """The model that holds the keys at `path`."""
    for key in path:
        field = spec.model_fields.get(key)
        if field is None:
            return None
        kinds = [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not nested:
            return None
        spec = nested[0]
    return spec
