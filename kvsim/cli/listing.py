"""`kvsim list`: what exists, a line each."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click

from kvsim.errors import unknown

KINDS = ("hw", "models", "policies", "serving", "prefix", "traces")


@click.command("list")
@click.argument("what", metavar="|".join(KINDS))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the lines.")
def list_command(what: str, as_json: bool) -> None:
    """List what exists: hw, models, policies, serving, prefix or traces.

    \b
    kvsim list policies
    kvsim list serving
    kvsim list hw --json
    """
    if what not in KINDS:
        raise unknown("list", what, KINDS)
    from kvsim.report.catalogue import catalogue

    found = catalogue(what)
    if as_json:
        click.echo(json.dumps(found, allow_nan=False))
        return
    shown: dict[str, Callable[[list[dict[str, Any]]], Iterator[str]]] = {
        "hw": _hardware,
        "models": _models,
        "policies": _policies,
        "serving": _serving,
        "prefix": _prefix,
        "traces": _traces,
    }
    lines = [*shown[what](found[what]), *(_settings(found["settings"]) if "settings" in found else ())]
    click.echo("\n".join(lines))


def _hardware(entries: list[dict[str, Any]]) -> Iterator[str]:
    from kvsim import find
    from kvsim.report.table import wrapped
    from kvsim.report.words import amount, count

    yield f"{'name':<10}{'HBM':>9}{'bandwidth':>12}{'bf16':>14}{'host link':>12}{'host DRAM':>11}{'price':>10}  chip"
    for entry in entries:
        price = f"${entry['usd_per_h']:.2f}/h"
        yield (
            f"{entry['name']:<10}{amount(entry['memory_bytes']):>9}{amount(entry['memory_bytes_per_s']) + '/s':>12}"
            f"{count(entry['bf16_flops_per_s'], 'FLOP/s'):>14}{amount(entry['host_link_bytes_per_s']) + '/s':>12}"
            f"{amount(entry['host_memory_bytes']):>11}{price:>10}  {entry['about']}"
        )
    yield "Each also as x2, x4 and x8, such as h100x8; a file of your own works the same: --hw ./mine.yaml"
    devices = ", ".join(find.device_names())
    yield from wrapped(f"with devices, such as h100+2nvme: {devices}", "  ", "")


def _models(entries: list[dict[str, Any]]) -> Iterator[str]:
    from kvsim.report.words import amount, count

    yield f"{'name':<19}{'parameters':>11}{'weights':>10}{'KV bytes/token':>16}{'context':>10}  layers x heads/kv heads"
    for entry in entries:
        kind = "" if entry["kind"] == "dense" else f", {entry['kind']}"
        window = f", window {entry['window_tokens']:,}" if entry["window_tokens"] else ""
        shape = f"{entry['layers']} x {entry['heads']}/{entry['kv_heads']}{kind}{window}"
        parameters = count(entry["parameters"]).replace(" G", " B")
        yield (
            f"{entry['name']:<19}{parameters:>11}{amount(entry['weight_bytes']):>10}"
            f"{entry['kv_bytes_per_token']:>16,}{entry['max_context']:>10,}  {shape}"
        )
    yield "A file of your own works the same: --model ./mine.yaml; `kvsim model import` makes one from a config.json"


def _policies(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        source = ", ".join(filter(None, (f"arXiv:{entry['arxiv']}" if entry["arxiv"] else "", entry["repository"])))
        named = ":".join([entry["name"], *(f"{key}={value}" for key, value in entry["parameters"].items())])
        sets = ", ".join([*entry["sets"], *(["how the cache travels"] if entry["travels"] else [])])
        sets = f"sets {sets or 'nothing: what all others are held against'}"
        yield f"{entry['name']:<21} {entry['about']}{f' ({source})' if source else ''}: {sets}"
        if entry["parameters"]:
            yield f"{'':<22}{named}  {entry['parameters_about']}"
    yield "Compose with +, parameters after a colon: --policy snapkv:capacity=1024+kivi:bits=4"


def _serving(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        yield f"{entry['name']:<10}{entry['about']}"
        yield f"{'':<10}{' '.join(f'{key}={_plain(value)}' for key, value in entry['changes'].items())}"


def _prefix(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        needs = "; offline only: knows the future" if entry["knows_future"] else ""
        needs += "; needs a trace with sessions" if entry["needs_sessions"] else ""
        yield f"{entry['name']:<14}{entry['about']} ({entry['source']}){needs}"
        if entry["parameters"]:
            named = ":".join([entry["name"], *(f"{key}={_plain(value)}" for key, value in entry["parameters"].items())])
            yield f"{'':<14}{named}  {entry['parameters_about']}"
    yield "kvsim trace stats TRACE --cache 1000,10000 --eviction lru,belady; kvsim run ... --set prefix_eviction=lfu"


def _settings(entries: list[dict[str, Any]]) -> Iterator[str]:
    import textwrap

    yield ""
    yield "Settings: --set NAME=VALUE; a preset changes those beside its name"
    for entry in entries:
        default = f"{entry['name']}={_plain(entry['default'])}"
        choices = f" [{'|'.join(entry['choices'])}]" if entry["choices"] else ""
        yield from textwrap.wrap(
            entry["about"] + choices,
            110,
            initial_indent=f"  {default:<34} ",
            subsequent_indent=" " * 37,
            break_on_hyphens=False,
        )


def _traces(entries: list[dict[str, Any]]) -> Iterator[str]:
    for entry in entries:
        many = f"{entry['requests']:,} requests" if entry["requests"] else str(entry["trace"])
        run = ", ".join(str(entry[key]) for key in ("model", "hw", "policy") if entry[key])
        yield f"{entry['name']:<18}{many}; {run}"
        yield f"{'':<18}{entry['about']}"
    yield "A trace file or a workload YAML of your own works the same: kvsim run ./mine.yaml"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
