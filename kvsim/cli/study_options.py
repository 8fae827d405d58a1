"""Options of the commands that replay one trace on several systems, and `kvsim.run`'s arguments made of them."""

import shlex
import sys
from collections.abc import Callable
from typing import Any

import click

from kvsim.cli.trace_options import reading, trace_options

_OPTIONS = (
    click.option("--hw", metavar="NAMES", help="Machines, by commas. [default: the workload's, or h100]"),
    click.option(
        "--policy", metavar="NAMES", help="Policies, by commas; by `;` where a name has a list. [default: full]"
    ),
    click.option("--serving", metavar="NAMES", help="Engine presets, by commas. [default: vllm]"),
    click.option("--model", metavar="NAME", help="See `kvsim list models`. [default: the workload's, or llama-3-8b]"),
    click.option("--set", "settings", multiple=True, metavar="K=V", help="Override a field of the preset; repeatable."),
    click.option("--tp", type=int, metavar="N", help="Chips that share a model. [default: all of the machine]"),
    click.option("--fidelity", default="ideal", help="ideal: as a good kernel allows; published: as released."),
    trace_options,
    click.option("--loop", metavar="HOW", help="Sessions: closed, or open. [default: closed if think times are known]"),
    click.option("--max-gap", metavar="TIME", help="Closed loop: cut longer think and tool times to this."),
    click.option("--reuse", default="outputs", metavar="WHAT", help="The next turn hits cached outputs, or prompts."),
    click.option("--workers", type=int, metavar="N", help="Processes. [default: one a core]"),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table."),
)


def study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a command with the options that all such commands take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def arguments(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `kvsim.compare` and its like from a command line's options."""
    from kvsim.cli.options import duration_s, pairs

    gap = options.pop("max_gap")
    return reading(options) | {
        "settings": pairs(options["settings"], "--set"),
        "max_gap_s": duration_s(gap, "--max-gap"),
    }


def typed() -> str:
    """The command line as it was typed."""
    return shlex.join(["kvsim", *sys.argv[1:]])
