"""What exists, as objects for `kvsim list --json`: machines, models, policies, orders of eviction, ..."""

import dataclasses
import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from kvsim import find
from kvsim.engine.serving import Serving
from kvsim.specs.load import load
from kvsim.traces.workload import Workload
from kvsim.traits.policy import SLOTS

Entry = dict[str, Any]


def hardware() -> list[Entry]:
    """Systems of one chip; each exists x2, x4 and x8 as well."""
    entries = []
    for name in find.names("hardware/systems"):
        machine = find.machine(name)
        chip = machine.chip
        entries.append(
            {
                "name": name,
                "about": chip.name,
                "memory_bytes": chip.memory.capacity,
                "memory_bytes_per_s": chip.memory.bandwidth,
                "bf16_flops_per_s": chip.peak.bf16,
                "fp8_flops_per_s": chip.peak.fp8,
                "host_link": machine.host_link.name,
                "host_link_bytes_per_s": machine.host_link.bandwidth,
                "peer_link": machine.peer_links[0].name,
                "host_memory_bytes": machine.host.memory.capacity,
                "power_w": chip.power,
                "usd_per_h": machine.price_usd_per_h,
            }
        )
    return entries


def devices() -> list[Entry]:
    """What `+` adds to a machine: the tier that it makes, and what one of it carries to a chip of an H100 host."""
    entries = []
    for name in find.device_names():
        machine = find.machine(f"h100+{name}")
        tier, device = machine.tiers[-1], machine.devices[-1]
        entries.append(
            {
                "name": name,
                "about": device.device.name,
                "tier": tier.name,
                "kind": tier.kind,
                "capacity_bytes": tier.capacity_bytes,
                "read_bytes_per_s": tier.read_bytes_per_s,
                "write_bytes_per_s": tier.write_bytes_per_s,
                "read_latency_s": tier.read_latency_s,
                "usd": device.price_usd,
            }
        )
    return entries


def models() -> list[Entry]:
    """Shipped models, smallest first."""
    entries = []
    for name in find.names("workloads/models"):
        model = find.model(name)
        entries.append(
            {
                "name": name,
                "about": model.name,
                "parameters": model.parameters,
                "weight_bytes": model.weight_bytes,
                "kv_bytes_per_token": model.kv_bytes_per_token,
                "layers": model.layers,
                "heads": model.heads,
                "kv_heads": model.cache_heads,
                "max_context": model.max_context,
                "kind": "MLA" if model.latent else "MoE" if model.experts else "dense",
                "window_tokens": model.window.tokens if model.window else None,
            }
        )
    return sorted(entries, key=lambda entry: (entry["parameters"], entry["name"]))


def policies() -> list[Entry]:
    """Papers on the cache: what each sets, its parameters with their defaults."""
    entries = []
    for name in find.paper_names("kv"):
        kind = find.paper("policy", "kv", name)
        paper = kind()
        traits = paper.traits("ideal")
        entries.append(
            {
                "name": name,
                "about": paper.title,
                "arxiv": paper.arxiv or None,
                "repository": paper.repo or None,
                "sets": [slot for slot in SLOTS if getattr(traits, slot) is not None],
                "travels": hasattr(paper, "transit"),
                "prefix_reuse": traits.reuse == "prefix",
                "parameters": {field.name: getattr(paper, field.name) for field in dataclasses.fields(kind)},
                "parameters_about": " ".join((kind.__doc__ or "").split()) if dataclasses.fields(kind) else "",
            }
        )
    return entries


def serving() -> list[Entry]:
    """Presets: what each changes, and all of its settings."""
    entries = []
    for name in find.paper_names("serving"):
        kind = find.paper("serving", "serving", name)
        module = __import__(kind.__module__, fromlist=["_"])
        preset, base = kind(), Serving()
        settings = {field.name: getattr(preset, field.name) for field in dataclasses.fields(Serving)}
        changed = {key: value for key, value in settings.items() if value != getattr(base, key)}
        about = (module.__doc__ or "").strip().splitlines()[0]
        entries.append({"name": name, "about": about, "changes": changed, "settings": settings})
    return entries


def prefix() -> list[Entry]:
    """Orders of eviction of a prefix cache: what `--eviction` and the setting `prefix_eviction` take."""
    entries = []
    for name in find.paper_names("prefix"):
        kind = find.paper("eviction", "prefix", name)
        found = kind()
        entries.append(
            {
                "name": name,
                "about": found.title,
                "source": found.source,
                "knows_future": found.knows_future,
                "needs_sessions": found.needs_sessions,
                "parameters": {field.name: getattr(found, field.name) for field in dataclasses.fields(kind)},
                "parameters_about": " ".join((kind.__doc__ or "").split()) if dataclasses.fields(kind) else "",
            }
        )
    return entries


def settings() -> list[Entry]:
    """Fields that `--set` takes: default and meaning, read from the docstring of Serving."""
    fields = [field.name for field in dataclasses.fields(Serving)]
    text = " ".join((Serving.__doc__ or "").partition("Attributes:")[2].split())
    names = "|".join(fields)
    heads = list(re.finditer(rf"\b((?:{names})(?:, (?:{names}))*): ", text))
    meaning: dict[str, str] = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        told = text[head.end() : following.start() if following else None].strip().rstrip(".")
        meaning |= dict.fromkeys(head[1].split(", "), told)
    hints = get_type_hints(Serving)
    return [
        {
            "name": field.name,
            "default": field.default,
            "choices": list(filter(None, get_args(hints[field.name]))),
            "about": meaning.get(field.name, ""),
        }
        for field in dataclasses.fields(Serving)
    ]


def traces() -> list[Entry]:
    """Shipped workloads: what `kvsim run NAME` takes."""
    entries = []
    for name in find.names("workloads"):
        workload = load(Workload, find.ROOT / "workloads" / f"{name}.yaml")
        entries.append(
            {
                "name": name,
                "about": workload.about,
                "requests": workload.generate.requests if workload.generate else None,
                "trace": workload.trace,
                "model": workload.model,
                "hw": workload.hw,
                "policy": workload.policy,
            }
        )
    return entries


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "hw": hardware,
    "models": models,
    "policies": policies,
    "serving": serving,
    "prefix": prefix,
    "traces": traces,
}


def catalogue(kind: str) -> Entry:
    """The object that `kvsim list KIND --json` prints: {kind: [...]}; serving has its settings beside it."""
    found: Entry = {kind: KINDS[kind]()}
    if kind == "hw":
        return found | {"devices": devices()}
    return found | {"settings": settings()} if kind == "serving" else found
