"""Decode attention over batches of unlike lengths, by this package's paged kernel: what the longest row costs all.

The kernel cuts every row of a batch into as many splits, of one length: the longest row's. Where a batch has many rows
that length is long, and the longest row's last blocks pass while other multiprocessors idle.
"""

from functools import partial

import torch

from kernels_ref.calibrate.attention_decode import PAGE
from kernels_ref.calibrate.point import Point, Work
from kernels_ref.calibrate.rig import Rig
from kernels_ref.decode import decode

COLUMNS = ("mix", "batch", "longest", "tokens", "heads", "kv_heads", "head_dim", "dtype", "kernel")
BUDGET_S = 6.0

KERNEL = "kernels_ref decode"
HEADS = ((32, 8, 128), (8, 1, 128), (32, 32, 128))
COARSE = 2  # of them without --fine
MIXES = (  # rows x tokens of each
    "16x1024", "8x1024+8x4096", "15x512+1x16384", "12x256+4x32768", "31x300+1x30000",
    "64x1024", "48x512+16x4096", "60x300+4x16384", "63x800+1x8192", "63x256+1x65536", "62x100+2x30000",
    "56x1500", "30x260+20x900+2x14000", "40x700+16x5000", "7x300+9x1700+4x5200",
    "128x512", "100x300+28x3000", "127x500+1x16384", "120x200+8x8192",
    "256x512", "240x256+16x4096", "255x512+1x32768", "200x128+50x1024+6x12000",
)  # fmt: skip


def lengths(mix: str) -> list[int]:
    """Tokens of each row of "30x260+2x14000"."""
    parts = [part.split("x") for part in mix.split("+")]
    return [int(tokens) for rows, tokens in parts for _ in range(int(rows))]


def points(rig: Rig, fine: bool) -> list[Point]:
    """Every mix, and beside it batches whose rows are alike."""
    found = []
    for heads in HEADS if fine else HEADS[:COARSE]:
        for mix in MIXES:
            rows = lengths(mix)
            cells = (mix, len(rows), max(rows), sum(rows), *heads, "bf16", KERNEL)
            found.append(Point(dict(zip(COLUMNS, cells, strict=True)), partial(build, rows, *heads)))
    return found


def build(rows: list[int], heads: int, kv_heads: int, head_dim: int, rig: Rig) -> Work:
    """Pages in random order; a table as wide as the longest row. Long rows are dealt apart where they can be."""
    sets = rig.sets(4 * sum(rows) * kv_heads * head_dim)
    rows = [rows[(i * 7) % len(rows)] for i in range(len(rows))] if len(rows) % 7 else rows
    entries = [-(-tokens // PAGE) for tokens in rows]
    used, width = sum(entries), max(entries)
    n = torch.tensor(rows, dtype=torch.int32, device=rig.device)
    q = rig.random("bf16", len(rows), heads, head_dim)
    out, caches = torch.empty_like(q), []
    for _ in range(sets):
        k, v = (rig.random("bf16", used, kv_heads, PAGE, head_dim) for _ in "kv")
        table = torch.zeros(len(rows), width, dtype=torch.int32)
        table[torch.arange(width) < torch.tensor(entries)[:, None]] = torch.randperm(used, dtype=torch.int32)
        caches.append((k, v, table.to(rig.device)))
    return Work(lambda i: decode(q, *caches[i], n, out=out), sets)
