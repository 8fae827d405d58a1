"""`kvsim quality`: what policies do to a language model's attention and answers."""

import json
from pathlib import Path

import click


@click.command("quality")
@click.argument("policies", nargs=-1, required=True, metavar="POLICY...")
@click.option("--budget", type=float, metavar="SHARE", help="Of the full cache's bytes. [default: as published]")
@click.option("--text", "texts", multiple=True, metavar="NAME|FILE", help="licence, docs, code, needles; a file. [all]")
@click.option("--model", type=click.Path(path_type=Path), metavar="DIR", help="Another Llama. [default: SmolLM2-135M]")
@click.option("--tokens", type=int, default=1536, show_default=True, metavar="N", help="Of a text, compressed.")
@click.option("--new", type=int, default=64, show_default=True, metavar="N", help="Tokens that follow.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda or cuda:N.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of whatever a policy draws.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of the table.")
def quality_command(
    policies: tuple[str, ...],
    budget: float | None,
    texts: tuple[str, ...],
    model: Path | None,
    tokens: int,
    new: int,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """Measure what policies do to a real model's attention, next tokens and answers.

    Each policy's executable twin compresses the cache of a prompt and stays in the model's loop for the tokens that
    follow; the full cache is what it is held to. With --budget all get the same bytes: the largest setting that stores
    at most this share of the full cache, or reads at most that in a step, where a policy keeps everything and reads a
    part. `random` is random eviction. Needs the extras `kernels` and `quality`: see docs/quality.md.

    \b
    kvsim quality snapkv tova streaming random --budget 0.25
    kvsim quality kivi kivi:bits=4 --text licence --json
    kvsim quality snapkv+kivi --budget 0.1 --text my.txt --model ~/models/my-llama
    """
    from kvsim.cli.progress import progress
    from kvsim.onequality import quality

    with progress("measured") as counter:
        found = quality(
            policies,
            budget=budget,
            texts=texts,
            model=model,
            device=device,
            tokens=tokens,
            new=new,
            seed=seed,
            progress=counter,
        )
    if as_json:
        head = {"model": found.model, "tokens": found.prompt, "new": found.new, "budget": budget}
        click.echo(json.dumps({**head, "rows": [row.to_json() for row in found.rows]}, allow_nan=False))
        return
    from kvsim.report.qualitytable import render

    click.echo(render(found, budget, lambda name: click.style(name, bold=True)))
