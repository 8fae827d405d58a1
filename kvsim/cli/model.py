"""`kvsim model`: models from elsewhere."""

from pathlib import Path

import click


@click.group()
def model() -> None:
    """Describe models for kvsim.

    \b
    kvsim model import config.json --out mine.yaml
    kvsim run quickstart --model ./mine.yaml
    """


@model.command("import")
@click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG.json")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="YAML file to write. [default: stdout]")
def import_command(config: Path, out: Path | None) -> None:
    """Turn a Hugging Face config.json into a model file for --model.

    \b
    kvsim model import config.json
    kvsim model import ~/models/llama/config.json --out llama.yaml
    """
    from kvsim.errors import UserError
    from kvsim.modelimport import import_config, to_yaml
    from kvsim.report.words import amount, count
    from kvsim.traces.write import replacing

    if out and out.suffix not in (".yaml", ".yml"):
        raise UserError(f"{out}: must end in .yaml: that is how --model knows a file from a name")
    found = import_config(config)
    text = to_yaml(found)
    if out:
        with replacing(out) as file:
            file.write(text.encode())
    else:
        click.echo(text, nl=False)
    size = f"{count(found.parameters)} parameters, {amount(found.weight_bytes)} of weights"
    where = f"{out}: " if out else ""
    click.echo(f"{where}{found.name}: {size}, {found.kv_bytes_per_token:,} bytes of KV cache a token", err=True)
