"""The command `kvsim`. Commands load when they are used, so that `--help` and `--version` import only click."""

import gc
from importlib import import_module

import click

from kvsim import __version__
from kvsim.cli.ending import ends_well
from kvsim.errors import unknown

# command -> (module, attribute, what it does); the last is the first line of its own help as well
COMMANDS = {
    "run": (
        "kvsim.cli.run",
        "run_command",
        "Replay TRACE on a machine under a cache policy, and report on it.",
    ),
    "step": ("kvsim.cli.step", "step_command", "Price one step of a replica, Op by Op and lane by lane."),
    "op": ("kvsim.cli.op", "op_command", "Price one Op by its shape: a kernel, a copy or a collective."),
    "roofline": (
        "kvsim.cli.roofline",
        "roofline_command",
        "Show the Ops of prefill and decode under the roofs of a chip: HBM, host link, peer link.",
    ),
    "calibrate": (
        "kvsim.cli.calibrate",
        "calibrate_command",
        "Measure this machine's GPU: kernels, copies, launches, power; a raw table a class.",
    ),
    "validate": (
        "kvsim.cli.validate",
        "validate_command",
        "Hold predictions against what was measured: kernels, steps, replays, policies, engines, or your log.",
    ),
    "compare": (
        "kvsim.cli.compare",
        "compare_command",
        "Replay TRACE on several machines under several policies, and say which to take.",
    ),
    "sweep": ("kvsim.cli.sweep", "sweep_command", "Run every point of a study, and go on where it was interrupted."),
    "plan": (
        "kvsim.cli.plan",
        "plan_command",
        "Find the machines and policies that serve TRACE within limits, and the cheapest of them.",
    ),
    "quality": (
        "kvsim.cli.quality",
        "quality_command",
        "Measure what policies do to a real model's attention, next tokens and answers.",
    ),
    "list": (
        "kvsim.cli.listing",
        "list_command",
        "List what exists: hw, models, policies, serving, prefix or traces.",
    ),
    "trace": ("kvsim.cli.trace_tools", "trace", "Import, describe and generate request traces."),
    "model": ("kvsim.cli.model", "model", "Describe models for kvsim."),
}


class Commands(click.Group):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """The command `name`.

        Raises:
            UserError: there is none; the nearest names.
        """
        if name not in COMMANDS:
            raise unknown("command", name, COMMANDS)
        module, attribute, _ = COMMANDS[name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in the help, made without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, _, about) in COMMANDS.items()])


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Commands, invoke_without_command=True, context_settings=_SETTINGS)
@click.version_option(__version__, prog_name="kvsim", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """What a KV-cache policy costs and gains, on given hardware, under given traffic.

    \b
    kvsim run quickstart --hw h100 --policy headinfer
    kvsim step --hw rtx4090 --model llama-3-8b --policy kivi --phase decode --batch 8 --context 16000
    kvsim op gemm m=16 n=4096 k=14336 --hw h100
    kvsim list policies
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main() -> None:
    """The console's entry: exits 0 when done, 2 on a user's mistake, 130 on Ctrl-C, 1 on a defect of ours."""
    gc.set_threshold(100_000, 50, 50)  # a run makes many objects and few cycles: looking less often saves 7 % of it
    ends_well(cli)
