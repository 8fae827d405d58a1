"""`kvsim op`: one Op by its shape."""

import json
import re
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kvsim.oneop import OneOp

_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?")


@click.command("op")
@click.argument("kind")
@click.argument("shape", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--hw", required=True, metavar="NAME", help="Machine, see `kvsim list hw`.")
@click.option("--kernels", default="", metavar="WORDS", help='Kernels whose names hold a word, such as "of vLLM,NCCL".')
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with SI units instead of the table.")
def op_command(kind: str, shape: tuple[str, ...], hw: str, kernels: str, as_json: bool) -> None:
    """Price one Op by its shape: a kernel, a copy or a collective.

    KIND is gemm (m n k dtype), grouped_gemm (rows of all experts, experts used, n k dtype), attention_decode (batch
    context heads kv_heads head_dim kv_dtype; longest, of rows whose mean is context), attention_prefill (batch new past
    heads kv_heads head_dim), copy (lane bytes; also way (pinned, pageable, pages, rows, gather) and pieces, or of a
    drive request_bytes queue_depth), all_reduce (bytes gpus) or load (context model tier policy): the cache of a
    context brought from a tier to HBM. Policies' kernels: packed_decode (batch context heads kv_heads head_dim bits),
    pack (batch tokens kv_heads head_dim bits), compaction (batch kept kv_heads head_dim), gathered_decode (batch read
    heads kv_heads head_dim grain), mla_decode (batch context heads), lowrank_decode (batch context rank heads kv_heads
    head_dim) and shared_prefix_decode (batch prefix suffix heads kv_heads head_dim). A list such as m=1,16,256 gives a
    row for each.

    \b
    kvsim op gemm m=16 n=4096 k=14336 --hw h100
    kvsim op attention_decode batch=8 context=4096,32768 heads=32 kv_heads=8 head_dim=128 --hw a100-80
    kvsim op copy lane=h2d bytes="1 GB" --hw rtx4090 --json
    kvsim op copy lane=nvme_read bytes="1 GB" request_bytes=4096 queue_depth=64 --hw h100+2nvme
    kvsim op all_reduce bytes="1 MB" gpus=4 --hw h100x4 --kernels "of vLLM"
    kvsim op packed_decode batch=8 context=8192,32768 heads=32 kv_heads=8 head_dim=128 bits=2 --hw h100
    kvsim op load context=8000,100000 model=llama-3-8b tier=flash --hw h100+2nvme
    """
    from kvsim.cli.options import pairs
    from kvsim.oneop import op

    given = pairs(shape, f"op {kind}: an argument")
    found = op(kind, hw=hw, kernels=kernels, **{name: _value(name, text) for name, text in given.items()})
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False))
        return
    click.echo(_table(kind, given, hw, found))


def _value(name: str, text: str) -> Any:
    """A number, an array of them, or the text itself. Bytes may carry a unit."""
    if name == "bytes" and not _NUMBER.fullmatch(text) and "," not in text:
        from kvsim.units import bytes_of

        return bytes_of(text, "op: bytes")
    parts = text.split(",")
    if not all(_NUMBER.fullmatch(part) for part in parts):
        return text
    values = [float(part) if re.search(r"[.eE]", part) else int(part) for part in parts]
    if len(values) == 1:
        return values[0]
    import numpy as np

    return np.array(values)


def _table(kind: str, given: dict[str, str], hw: str, found: "OneOp") -> str:
    import numpy as np

    from kvsim.cost.source import DATASHEET, shown
    from kvsim.report.table import wrapped
    from kvsim.report.words import percent, seconds

    size = np.size(found.seconds)
    listed = {name: text.split(",") for name, text in given.items() if "," in text}
    fixed = " ".join(f"{name}={text}" for name, text in given.items() if name not in listed)
    lines = [f"{kind} {fixed} on {hw}"]
    columns = [np.broadcast_to(figure, (size,)) for figure in (found.seconds, found.roofline_s, found.efficiency)]
    bounds = [found.bound] * size if isinstance(found.bound, str) else found.bound
    lines.append("  " + "".join(f"{name:>12}" for name in (*listed, "time", "roofline", "efficiency")) + "  bound by")
    for i, (took, ideal, share, bound) in enumerate(zip(*columns, bounds, strict=True)):
        shape = [texts[i] for texts in listed.values()]
        texts = (*shape, seconds(float(took)), seconds(float(ideal)), percent(float(share)))
        lines.append("  " + "".join(f"{text:>12}" for text in texts) + f"  {bound}")
    if found.provenance == DATASHEET.text:
        about = f"datasheet rates; expect +-{found.expected_error:.0%}{shown([kind])}"
    else:
        about = f"{found.provenance}; 9 of 10 shapes within {percent(found.expected_error)}"
    lines += wrapped(about)
    return "\n".join(lines)
