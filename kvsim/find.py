"""Everything that is found by name: hardware, models, workloads, policies, serving presets. The only such module."""

import hashlib
import importlib
import re
import sys
import traceback
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from kvsim.cost.calibration import NOTHING, Calibrated, Calibration
from kvsim.errors import UserError, unknown
from kvsim.specs.devices import Attached, Drive, Expander, Store
from kvsim.specs.graph import Device, Node, tier_name
from kvsim.specs.hardware import Chip, Host, Link, Machine, System, words_of
from kvsim.specs.load import Spec, load
from kvsim.specs.model import Dtype, Model

_WRITTEN_OFF_H = 3 * 8766.0
ROOT = Path(__file__).resolve().parent.parent
EXECUTORS = ("model", "torch")


def names(folder: str) -> list[str]:
    """Names of the YAML files in a data folder such as "hardware/systems"."""
    return sorted(path.stem for path in (ROOT / folder).glob("*.yaml"))


def _path(what: str, name: str, folder: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    if name not in names(folder):
        raise unknown(what, name, names(folder))
    return ROOT / folder / f"{name}.yaml"


def _part(what: str, value: Any, kind: type[Spec], folder: str) -> Any:
    return value if isinstance(value, kind) else load(kind, _path(what, value, folder))


DEVICES: dict[str, tuple[str, type[Spec]]] = {
    "drive": ("hardware/drives", Drive),
    "memory": ("hardware/memories", Expander),
    "store": ("hardware/stores", Store),
}


def _base(name: str) -> tuple[str, int, list[str]]:
    """`h100x8+2nvme` -> ("h100", 8, ["2nvme"]); a file's own name may hold a plus."""
    file = re.fullmatch(r"(.+\.ya?ml)((?:\+[^+/]*)*)", name)
    name, *more = [file[1], *file[2].split("+")[1:]] if file else name.split("+")
    many = re.fullmatch(r"(.+?)x([1-9]\d*)", name)
    return (many[1], int(many[2]), more) if many and many[1] in names("hardware/systems") else (name, 1, more)


def device_names() -> list[str]:
    """What `+` may add to a machine: short names, then every drive, memory and store by its file's name."""
    return [*names("hardware/parts"), *(name for folder, _ in DEVICES.values() for name in names(folder))]


def _attached(text: str) -> tuple[str, Attached]:
    """(name, device) of what `+text` adds: `2nvme` is two of hardware/parts/nvme.yaml, or of a drive of that name."""
    many = re.fullmatch(r"([1-9]\d{0,2})?([a-z].*)", text)
    count, name = (int(many[1] or 1), many[2]) if many else (1, text)
    if name in names("hardware/parts"):
        found = load(Attached, ROOT / "hardware/parts" / f"{name}.yaml")
        return name, found.model_copy(update={"count": found.count * count})
    for kind, (folder, _) in DEVICES.items():
        if name in names(folder):
            return name, Attached.model_validate({kind: name, "count": count})
    raise unknown("device", name, device_names(), "hw: +")


def _device(name: str, attached: Attached) -> Device:
    """A device with its own file and its link's read."""
    what = next(kind for kind in DEVICES if getattr(attached, kind) is not None)
    folder, kind = DEVICES[what]
    own = _part(what, getattr(attached, what), kind, folder)
    link = _part("link", attached.link or own.link, Link, "hardware/links")
    device = Device(name, own, link, attached.to, attached.count, attached.tier or "")
    return device if attached.tier else replace(device, tier=tier_name(device.kind))


def data_files(hw: str, model: str) -> dict[str, Path]:
    """The files that describe a machine and a model, by their names in a report's provenance."""
    base, _, more = _base(hw)
    path = _path("hw", base, "hardware/systems")
    system = load(System, path)
    parts: list[tuple[Any, str]] = [(system.chip, "chips"), (system.host_link, "links"), (system.host, "hosts")]
    parts += [(link, "links") for link in system.peer_links]
    found = [path, _path("model", model, "workloads/models")]
    for _, attached in [*system.devices.items(), *map(_attached, more)]:
        for key, (folder, _) in DEVICES.items():
            if one := getattr(attached, key):
                parts.append((one, folder.removeprefix("hardware/")))
    for part, folder in parts:
        if isinstance(part, str):
            found.append(_path("part", part, f"hardware/{folder}"))
            lenders = dict.fromkeys((part, calibrated(part).lender or part))
            found += [path for name in lenders if (path := ROOT / "hardware/calibration" / f"{name}.yaml").is_file()]
    return {(str(p.relative_to(ROOT)) if p.is_relative_to(ROOT) else str(p)): p for p in found}


def system(name: str) -> System:
    """The system `h100`, or a user's file, as it is written."""
    return load(System, _path("hw", name, "hardware/systems"))


def part(name: str) -> Chip | Link:
    """A chip or a link by the name of its file."""
    if name in names("hardware/chips"):
        return load(Chip, ROOT / "hardware/chips" / f"{name}.yaml")
    if name in names("hardware/links"):
        return load(Link, ROOT / "hardware/links" / f"{name}.yaml")
    raise unknown("chip or link", name, [*names("hardware/chips"), *names("hardware/links")])


@cache
def calibrated(name: str) -> Calibrated:
    """What was fitted for a chip or a link, or for the relative whose curves it borrows; nothing for most."""
    path = ROOT / "hardware/calibration" / f"{name}.yaml"
    if not path.is_file():
        return NOTHING
    found = load(Calibration, path)
    if found.borrows:
        return Calibrated(calibrated(found.borrows).calibration, found.borrows)
    return Calibrated(found)


def check_kernels(words: str) -> None:
    """Refuse words (by commas) that are in the name of no kernel that was measured on any machine.

    Raises:
        UserError: there is one.
    """
    several = words_of(words)
    parts = names("hardware/calibration") if several else []
    known = {one.kernel for name in parts for one in calibrated(name).calibration.curves}
    for word in several:
        if not any(word in kernel for kernel in known):
            raise unknown("kernel", word, known)


def _curves(named: Any) -> Calibrated:
    """Of a chip or link that a system names; of one that it describes itself, nothing."""
    return calibrated(named) if isinstance(named, str) and "/" not in named else NOTHING


def _devices_usd_per_h(devices: Iterable[Device]) -> float:
    """Drives and memories written off over three years: rents are asked for chips alone."""
    return sum(device.price_usd for device in devices) / _WRITTEN_OFF_H


@cache
def machine(name: str) -> Machine:
    """The system `h100`, N chips of it (`h100x8`), more devices (`h100+2nvme`), or a user's file (`./mine.yaml`)."""
    base, times, more = _base(name)
    if times not in (1, 2, 4, 8):
        raise UserError(f"hw {name!r}: a system has 1, 2, 4 or 8 chips, but got {times}")
    system = load(System, _path("hw", base, "hardware/systems"))
    attached = [*system.devices.items(), *map(_attached, more)]
    if twice := [one for i, (one, _) in enumerate(attached) if one in (other for other, _ in attached[:i])]:
        raise UserError(f"hw {name!r}: {twice[0]} is attached twice; write a count before it, such as 2{twice[0]}")
    devices = tuple(_device(key, one) for key, one in attached)
    found = Machine(
        name=name,
        chip=_part("chip", system.chip, Chip, "hardware/chips"),
        chips=system.chips * times,
        host_link=_part("link", system.host_link, Link, "hardware/links"),
        peer_links=tuple(_part("link", link, Link, "hardware/links") for link in system.peer_links),
        host=_part("host", system.host, Host, "hardware/hosts"),
        price_usd_per_h=system.price + _devices_usd_per_h(devices) / (system.chips * times),
        curves=_curves(system.chip),
        peer_curves=tuple(_curves(link) for link in system.peer_links),
        host_curves=_curves(system.host_link).beside(system.host if isinstance(system.host, str) else ""),
        chip_to=system.chip_to,
        switches=tuple(
            Node(key, _part("link", one.link, Link, "hardware/links"), one.to) for key, one in system.switches.items()
        ),
        devices=devices,
    )
    _ = found.tiers  # refuses a graph that has a fault
    return found


@cache
def model(name: str, weight_dtype: str = "") -> Model:
    """The model `llama-3-8b`, or a user's file (`./mine.yaml`); its linear layers in another type if one is named."""
    found = load(Model, _path("model", name, "workloads/models"))
    if not weight_dtype:
        return found
    if weight_dtype not in get_args(Dtype):
        raise unknown("weight dtype", weight_dtype, get_args(Dtype))
    return found.model_copy(update={"dtype": weight_dtype})


@cache
def profile(name: str) -> dict[str, Any]:
    """Figures that were measured for a policy, by name; nothing for most."""
    path = ROOT / "workloads/profiles" / f"{name}.yaml"
    if not path.is_file():
        return {}
    from kvsim.traits.profile import Figure, Profile

    found = load(Profile, path)
    return {key: Figure(tuple(one.values), one.spread, one.source, one.rows) for key, one in found.figures.items()}


def paper_names(folder: str) -> list[str]:
    """Names of the files in `policies/<folder>`: a file's name is its name, with `-` for `_`."""
    files = (ROOT / "policies" / folder).glob("*.py")
    return sorted(path.stem.replace("_", "-") for path in files if not path.stem.startswith("_"))


def paper(what: str, folder: str, name: str) -> type[Any]:
    """The one public class that `policies/<folder>/<name>.py` defines, or a user's file (`./mine.py`)."""
    if name.endswith(".py"):
        module = _own_module(what, Path(name))
    elif name not in paper_names(folder):
        raise unknown(what, name, paper_names(folder))
    else:
        module = importlib.import_module(f"policies.{folder}.{name.replace('-', '_')}")
    own = [
        kind
        for key, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and not key.startswith("_")
    ]
    if len(own) != 1 and name.endswith(".py"):
        raise UserError(f"{what} {name}: must define one public class, but defines {len(own)}")
    if len(own) != 1:
        raise RuntimeError(f"{module.__name__} must define one public class, but defines {len(own)}")
    return own[0]


def kernels(name: str, what: str) -> ModuleType:
    """The module `kernels_ref.<name>`, which needs torch and triton.

    Raises:
        UserError: they are not installed; `what` is what needs them.
    """
    try:
        return importlib.import_module(f"kernels_ref.{name}")
    except ImportError as missing:
        raise UserError(f"{what}: needs the extra `kernels` (torch, triton): {missing}") from None


def executor(text: str) -> Any:
    """What makes the executor that `text` names, such as `torch` or `torch:device=cpu`; None for the cost model.

    Raises:
        UserError: there is none of that name, or what it needs is missing.
    """
    name, *pairs = text.strip().split(":")
    if name not in EXECUTORS:
        raise unknown("executor", name, EXECUTORS)
    return None if name == "model" else kernels(f"executor.{name}_executor", f"executor {name}").factory(pairs)


def _own_module(what: str, path: Path) -> ModuleType:
    """A user's Python file as a module, loaded again once it has changed."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{what} {path}: cannot be read: {error.strerror or error}") from None
    name = f"kvsim_own_{hashlib.sha256(str(path.resolve()).encode() + text).hexdigest()[:16]}"
    if name not in sys.modules:
        module = sys.modules[name] = ModuleType(name)  # dataclasses look their module up there
        module.__file__ = str(path)
        try:
            exec(compile(text, str(path), "exec"), vars(module))
        except Exception as error:
            del sys.modules[name]
            line = (
                error.lineno if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1].lineno
            )
            raise UserError(f"{what} {path}:{line}: {type(error).__name__}: {error}") from None
    return sys.modules[name]
