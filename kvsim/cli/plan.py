"""`kvsim plan`: goodput under limits, and what a wanted rate takes and costs."""

import json
from typing import Any

import click

from kvsim.cli.study_options import arguments, study_options


@click.command("plan")
@click.argument("trace")
@study_options
@click.option("--slo", required=True, metavar="LIMITS", help="Such as ttft_p99=2s,tpot_p99=50ms; all must hold.")
@click.option("--rate", type=float, metavar="R", help="Requests (sessions) a second to serve. [default: the trace's]")
@click.option(
    "--by", default="usd_per_mtok", metavar="KEY", help="The best has the least of it; or joules_per_token, gpus."
)
@click.option(
    "--replicas-max", "copies_most", type=int, default=64, show_default=True, metavar="N", help="Machines to try."
)
@click.option("--sensitivity", "sensitive", is_flag=True, help="Which figure of the hardware would change the answer?")
def plan_command(trace: str, as_json: bool, **options: Any) -> None:
    """Find the machines and policies that serve TRACE within limits, and the cheapest of them.

    Goodput is the highest rate at which one machine keeps all limits: the trace is compressed or stretched in time, and
    a replay just under and one just over the answer are shown. Of a trace with sessions the rate is that of sessions.
    Limits: ttft, tpot, e2e or queue, then _mean, _p50, _p90, _p95 or _p99, with a unit of time.

    \b
    kvsim plan quickstart --hw h100,l40s --policy full,kivi --slo ttft_p99=2s,tpot_p99=100ms
    kvsim plan azure.csv --hw h100,a100-80 --slo e2e_p95=20s --rate 40 --sensitivity
    """
    from kvsim.cli.progress import progress
    from kvsim.decide.plan import plan

    with progress("systems, then figures" if options["sensitive"] else "systems") as counter:
        found = plan(trace, progress=counter, **arguments(options))
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False))
        return
    from kvsim.report.plantable import render

    click.echo(render(found, lambda name: click.style(name, bold=True)))
