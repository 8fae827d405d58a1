"""`kvsim step`: one step of a replica, Op by Op and lane by lane."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kvsim.decide.bestsplit import BestSplit


@click.command("step")
@click.option("--hw", required=True, metavar="NAME", help="Machine, see `kvsim list hw`.")
@click.option("--model", required=True, metavar="NAME", help="Model, see `kvsim list models`.")
@click.option("--policy", default="full", show_default=True, metavar="NAME", help="What happens to the cache.")
@click.option("--phase", default="decode", show_default=True, metavar="PHASE", help="prefill, decode, mixed; session.")
@click.option("--batch", type=int, default=1, show_default=True, metavar="B", help="Sequences; prompts of a prefill.")
@click.option("--context", default="1024", show_default=True, metavar="N", help="Tokens of each after it.")
@click.option("--chunk", type=int, default=512, show_default=True, metavar="C", help="mixed: new prompt tokens.")
@click.option("--past", type=int, default=0, show_default=True, metavar="P", help="mixed: earlier ones.")
@click.option("--generated", type=int, metavar="G", help="Of these, not prompt. [default: 1; of a session: 250]")
@click.option("--tp", type=int, metavar="T", help="Chips that share the model. [default: all of the machine]")
@click.option("--fidelity", default="ideal", help="ideal: as a good kernel allows; published: as released.")
@click.option("--weight-dtype", default="", metavar="TYPE", help="Of the linear layers: bf16, fp8, int8, int4.")
@click.option("--serving", default="", metavar="NAME", help="Also what an engine adds: host work, launches, gaps.")
@click.option("--best-split", is_flag=True, help="flexgen: search its percentages; with --batch 0 its batch too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def step_command(
    as_json: bool, tp: int | None, context: str, generated: int | None, best_split: bool, **options: Any
) -> None:
    """Price one step of a replica, Op by Op and lane by lane.

    A prefill reads B prompts of N new tokens each; a decode extends B sequences whose context holds N tokens after it;
    a mixed step is those decodes and one chunk of C prompt tokens on top of P earlier ones. A session is no step: it is
    the four costs of a prompt of N tokens and an answer of G, for several policies and contexts if you list them.

    \b
    kvsim step --hw rtx4090 --model llama-3-8b --policy headinfer --phase decode --batch 1 --context 1000000
    kvsim step --hw h100x8 --model llama-3-70b --phase mixed --batch 64 --context 4000 --chunk 1024 --json
    kvsim step --hw h100 --model llama-2-7b --batch 16 --context 700 --serving vllm
    kvsim step --hw a100-80 --model yi-34b --phase session --policy full,kivi --context 4000,50000
    kvsim step --hw rtx4090+nvme --model opt-30b --policy flexgen --best-split --batch 8 --context 1024
    """
    from kvsim.errors import UserError
    from kvsim.onestep import step

    if tp is not None and tp < 1:
        raise UserError(f"--tp must be at least 1, but got {tp}")
    tokens = whole_numbers(context, "--context")
    if options["phase"] == "session":
        _print_session(as_json, tp, tokens, generated, options)
        return
    if len(tokens) > 1:
        raise UserError(
            f"--context: a {options['phase']} step has one, but got {context}; --phase session takes a list"
        )
    options |= {"context": tokens[0], "generated": 1 if generated is None else generated}
    split = _best_split(tp, options) if best_split else None
    if split:
        options |= {"policy": split.policy, "batch": split.batch}
    found = step(tp=tp or 0, **options)
    if as_json:
        figures = found.to_json() | ({"split": split.to_json()} if split else {})
        click.echo(json.dumps(figures, allow_nan=False))
        return
    if split:
        rate = f"{split.tokens_per_s:,.3g} tokens/s at a batch of {split.batch:,}"
        click.echo(f"best split: {split.policy}\n  {rate}; {split.tried:,} splits tried, {split.fit:,} of them fit\n")
    from kvsim.cli.run import can_draw
    from kvsim.report.steptable import render

    click.echo(render(found, _title(tp, options), can_draw()))


def _best_split(tp: int | None, options: dict[str, Any]) -> "BestSplit":
    from kvsim.decide.bestsplit import best_split
    from kvsim.errors import UserError

    if options["policy"] != "flexgen" or options["phase"] != "decode":
        what = f"--policy {options['policy']} --phase {options['phase']}"
        raise UserError(f"--best-split searches the percentages of --policy flexgen --phase decode, but got {what}")
    if options["batch"] < 0:
        raise UserError(f"--batch must be at least 1, or 0 for the best one, but got {options['batch']}")
    chosen = {key: options[key] for key in ("hw", "model", "context", "batch", "weight_dtype")}
    return best_split(tp=tp or 0, serving=options["serving"] or "vllm", **chosen)


def _print_session(
    as_json: bool, tp: int | None, tokens: list[int], generated: int | None, options: dict[str, Any]
) -> None:
    from kvsim.onesession import session
    from kvsim.report.sessiontable import render

    shared = {key: options[key] for key in ("hw", "model", "batch", "fidelity", "weight_dtype")}
    answer = 250 if generated is None else generated
    found = session(policy=options["policy"].split(","), context=tokens, generated=answer, tp=tp or 0, **shared)
    where = f"{options['hw']}{f' with tp {tp}' if tp else ''}"
    click.echo(json.dumps(found.to_json(), allow_nan=False) if as_json else render(found, options["model"], where))


def whole_numbers(text: str, option: str) -> list[int]:
    """Whole numbers of a list such as "4000,50000".

    Raises:
        UserError: anything else.
    """
    from kvsim.errors import UserError

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option} must be a whole number, or a list such as 16,64, but got {text!r}") from None


def _title(tp: int | None, options: dict[str, Any]) -> str:
    shape = f"batch {options['batch']:,}, context {options['context']:,}"
    if options["phase"] == "mixed":
        shape += f", and {options['chunk']:,} prompt tokens on {options['past']:,}"
    where = f"{options['hw']}{f' with tp {tp}' if tp else ''}"
    return f"{options['phase']} step of {options['model']} on {where}, policy {options['policy']}: {shape}"
