"""`kvsim trace generate`: traces by rule."""

from pathlib import Path
from typing import Any

import click

from kvsim.cli.trace import AS_HELP, OUT_HELP, ROUND_HELP, trace, written
from kvsim.cli.trace_options import SEED_HELP, TOKENIZER_HELP
from kvsim.errors import UserError

_CV_HELP = "Its standard deviation over its mean; 0 is fixed. [default: 1]"
_PROCESSES = "poisson, gamma, weibull, constant, mmpp or diurnal"


@trace.command("generate")
@click.argument("spec", required=False, metavar="[SPEC.yaml]")
@click.option("--out", required=True, metavar="FILE", help=OUT_HELP)
@click.option("--as", "layout", default="kvsim", metavar="LAYOUT", help=AS_HELP)
@click.option("--round", "rounded", is_flag=True, help=ROUND_HELP)
@click.option("--seed", type=int, help=SEED_HELP)
@click.option("--requests", type=int, metavar="N", help="How many requests. [default: 1000]")
@click.option("--process", metavar="NAME", help=f"Arrivals: {_PROCESSES}. [default: poisson]")
@click.option("--rate", type=float, metavar="R", help="Requests per second, in the mean. [default: 1]")
@click.option("--cv", type=float, metavar="CV", help="gamma, weibull: standard deviation of the gaps over their mean.")
@click.option("--shape", type=float, metavar="K", help="gamma, weibull: the law's shape, instead of --cv.")
@click.option("--amplitude", type=float, metavar="A", help="diurnal: the rate is R (1 +- A). [default: 0.5]")
@click.option("--period", metavar="TIME", help="diurnal: seconds, or `12 h`. [default: 24 h]")
@click.option("--state", multiple=True, metavar="R:S", help="mmpp: a state with R requests/s for S s in the mean.")
@click.option("--prompt-mean", type=float, metavar="TOKENS", help="Mean prompt, lognormal. [default: 1024]")
@click.option("--prompt-cv", type=float, metavar="CV", help=_CV_HELP)
@click.option("--prompt-max", type=int, metavar="TOKENS", help="Longest prompt. [default: 2**30]")
@click.option("--output-mean", type=float, metavar="TOKENS", help="Mean output, lognormal. [default: 256]")
@click.option("--output-cv", type=float, metavar="CV", help=_CV_HELP)
@click.option("--output-max", type=int, metavar="TOKENS", help="Longest output. [default: 2**30]")
@click.option("--lengths-from", metavar="FILE", help="Draw (prompt, output) pairs from this trace or table of lengths.")
@click.option("--tokenizer", metavar="NAME_OR_FILE", help=TOKENIZER_HELP)
def generate_command(spec: str | None, out: str, layout: str, rounded: bool, seed: int | None, **options: Any) -> None:
    """Write the requests that a workload YAML's `generate:` describes, or that the options describe.

    A YAML can do more: mixes, conversations, agents, shared prefixes, retrieval, ServeGen's client pools.

    \b
    kvsim trace generate quickstart --out quick.jsonl
    kvsim trace generate --requests 5000 --rate 3 --prompt-mean 1135 --output-mean 212 --out chat.jsonl.gz
    kvsim trace generate --process gamma --rate 2 --cv 4 --lengths-from azure.csv --out bursty.csv
    kvsim trace generate --process mmpp --state 1:60 --state 20:5 --out jumps.csv
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    if spec is not None:
        if given:
            raise UserError(f"--{next(iter(given)).replace('_', '-')}: give either a YAML or options, not both")
        _from_yaml(spec, out, layout, rounded, seed)
        return
    from kvsim.specs.load import build
    from kvsim.traces.workload import Generate, Workload

    block = _spec(given)
    build(Workload, {"seed": seed or 0, "generate": block}, "options")  # checks the seed as well
    _made(build(Generate, block, "options"), seed or 0, Path(out).name, Path(), out, layout, rounded)


def _from_yaml(spec: str, out: str, layout: str, rounded: bool, seed: int | None) -> None:
    from kvsim.specs.load import load
    from kvsim.traces.open import files, open_trace
    from kvsim.traces.workload import Workload

    path = files(spec)[0]
    workload = load(Workload, path) if path.suffix in (".yaml", ".yml") else None
    if workload is None or workload.generate is None:
        open_trace(spec)  # says what is wrong with it, if anything is
        raise UserError(f"{spec}: is no workload YAML with a `generate:` block; to convert a trace use `trace import`")
    block = workload.generate
    if workload.limit is not None:
        block = block.model_copy(update={"requests": min(workload.limit, block.requests)})
    chosen = workload.seed if seed is None else seed
    _made(block, chosen, path.stem, path.parent, out, layout, rounded)


def _made(block: Any, seed: int, name: str, folder: Path, out: str, layout: str, rounded: bool) -> None:
    """Generate and write; plain arrivals and lengths some at a time, so that millions need little memory."""
    from kvsim.traces.generate import generate, is_plain, parts

    if layout != "kvsim" or not is_plain(block):
        written(generate(block, seed, name, folder), out, layout, rounded)
        return
    from kvsim.traces.write import write_parts

    click.echo(f"{out}: {write_parts(parts(block, seed, name, folder), out):,} requests", err=True)


def _spec(given: dict[str, Any]) -> dict[str, Any]:
    """The `generate:` block that the options stand for."""

    def length(which: str, mean: float) -> dict[str, Any]:
        most = given.get(f"{which}_max")
        figures = {"mean": given.get(f"{which}_mean", mean), "cv": given.get(f"{which}_cv", 1.0)}
        return figures if most is None else figures | {"max": most}

    spec: dict[str, Any] = {"requests": given.get("requests", 1000), "arrivals": _arrivals(given)}
    if "lengths_from" in given:
        for key in given:
            if key.startswith(("prompt", "output")):
                raise UserError(f"--{key.replace('_', '-')}: --lengths-from sets all lengths already")
        return spec | {key: given[key] for key in ("lengths_from", "tokenizer") if key in given}
    if "tokenizer" in given:
        raise UserError("--tokenizer: is for the text of --lengths-from")
    return spec | {"prompt": length("prompt", 1024.0), "output": length("output", 256.0)}


def _arrivals(given: dict[str, Any]) -> dict[str, Any]:
    from kvsim.cli.options import duration_s

    process = given.get("process", "poisson")
    arrivals: dict[str, Any] = {"process": process}
    for key, of in (("amplitude", "diurnal"), ("period", "diurnal"), ("state", "mmpp")):
        if key in given and process != of:
            raise UserError(f"--{key} is for --process {of}")
    if process == "mmpp":
        arrivals["states"] = [_state(text) for text in given.get("state", ())] or None
        if "rate" in given:
            raise UserError("--rate: the rates of mmpp are those of its --state options")
        return arrivals
    rate = given.get("rate", 1.0)
    if process == "diurnal":
        period_s = duration_s(given.get("period", "86400"), "--period")
        curve = {"rate_per_s": rate, "amplitude": given.get("amplitude", 0.5), "period_s": period_s}
        return {"process": "poisson", "curve": curve}
    arrivals["rate_per_s"] = rate
    return arrivals | {key: given[key] for key in ("cv", "shape") if key in given}


def _state(text: str) -> dict[str, float]:
    rate, _, dwell = text.partition(":")
    try:
        return {"rate_per_s": float(rate), "dwell_mean_s": float(dwell)}
    except ValueError:
        raise UserError(f"--state must be RATE:SECONDS, as in 20:5, but got {text!r}") from None
