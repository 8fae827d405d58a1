"""The policy kernels of this package: packed and gathered caches, ragged heads, shared prefixes, scorers and more."""

from collections.abc import Callable
from functools import partial

import torch

from kernels_ref import bench_attention, cases, kivi_bench, kivi_cache, kivi_decode, lowrank, mla, quantize, scorers
from kernels_ref.calibrate.point import Point, Work
from kernels_ref.calibrate.rig import Rig
from kernels_ref.decode import decode

COLUMNS = ("kernel", "batch", "context", "read", "heads", "kv_heads", "head_dim", "bits", "grain", "dtype")
EXTRA = ("bytes", "flops")
BUDGET_S = 18.0

PAGE = 16
HEADS = ((32, 8, 128), (32, 32, 128), (64, 8, 128))
KIVI = (
    (1, 8192), (1, 32768), (1, 131072), (4, 4096), (4, 16384), (4, 32768), (8, 2048), (8, 8192), (8, 32768), (16, 4096),
    (16, 16384), (32, 2048), (32, 8192), (64, 4096), (128, 2048),
)  # fmt: skip
KIVI_GROUPS = ((1, 32768), (8, 2048), (8, 8192), (32, 4096))  # of heads in other groups than the first
SHARED = (
    (4, 8192, 128), (4, 32768, 128), (8, 8192, 128), (8, 32768, 16), (8, 32768, 512), (16, 2048, 128), (16, 8192, 128),
    (16, 32768, 128), (16, 131072, 128), (32, 4096, 128), (32, 8192, 512), (32, 16384, 128), (64, 2048, 128),
    (64, 4096, 128), (64, 8192, 128), (64, 16384, 512), (64, 32768, 128), (128, 2048, 128), (128, 8192, 128),
    (256, 8192, 128), (256, 32768, 16), (256, 131072, 16),
)  # fmt: skip
COMPACT = ((1, 4096), (1, 32768), (8, 4096), (8, 16384), (32, 4096), (64, 4096), (128, 2048))
LOWRANK = (
    (1, 8192, 160), (1, 32768, 160), (1, 131072, 160), (4, 4096, 160), (4, 16384, 160), (8, 2048, 160), (8, 8192, 160),
    (8, 32768, 160), (16, 4096, 160), (32, 2048, 160), (32, 8192, 160), (64, 1024, 160), (1, 16384, 256),
    (4, 8192, 256), (8, 8192, 256), (16, 8192, 256), (32, 4096, 256), (1, 16384, 512), (4, 4096, 512), (8, 8192, 512),
    (8, 32768, 512), (32, 2048, 512),
)  # fmt: skip
MLA = (
    (1, 128, 2048), (1, 128, 8192), (1, 128, 32768), (1, 128, 131072), (4, 128, 4096), (4, 128, 16384), (8, 128, 32768),
    (16, 128, 2048), (16, 128, 8192), (32, 128, 1024), (32, 128, 4096), (64, 128, 2048), (64, 128, 4096), (1, 16, 8192),
    (1, 16, 65536), (4, 16, 4096), (4, 16, 16384), (8, 16, 8192), (16, 16, 2048), (16, 16, 16384), (32, 16, 4096),
    (64, 16, 1024), (64, 16, 4096), (128, 16, 2048), (128, 16, 8192),
)  # fmt: skip
MOST_BYTES = 5e9


def points(rig: Rig, fine: bool) -> list[Point]:
    """Grids for decodes over packed and gathered caches, and of each other kernel."""
    found = []
    for bits in (2, 4):
        for heads in HEADS:
            for batch, context in KIVI if fine or heads == HEADS[0] else KIVI_GROUPS:
                if 2 * batch * context * heads[1] * heads[2] * bits / 8 < MOST_BYTES:
                    cells = _cells(f"kivi{bits}", batch, context, context, heads, bits, 128)
                    found.append(Point(cells, partial(kivi, cells)))
    for batch, context in ((1, 32768), (8, 8192), (8, 32768), (32, 8192), (64, 4096)):
        for share in (16, 4, 2):
            for grain in (1, PAGE):
                cells = _cells("gathered", batch, context, context // share, HEADS[0], 16, grain)
                found.append(Point(cells, partial(gathered, cells)))
    return found + _others()


def variant(point: Point) -> tuple[object, ...]:
    """What Triton compiles anew, nearly."""
    cells = point.cells
    read = cells["read"] if cells["kernel"] == "lowrank" else cells["read"] > 512
    return cells["kernel"], cells["heads"], cells["kv_heads"], cells["bits"], cells["grain"], read


def _cells(kernel: str, batch: int, context: int, read: int, heads: tuple[int, int, int], bits: int, grain: int):
    dtype = "bf16" if bits == 16 else f"int{bits}"
    return dict(zip(COLUMNS, (kernel, batch, context, read, *heads, bits, grain, dtype), strict=True))


def kivi(cells: dict, rig: Rig) -> Work:
    """Decode over whole packed pages of random codes."""
    batch, context, bits = cells["batch"], cells["context"], cells["bits"]
    heads, kv_heads, dim = cells["heads"], cells["kv_heads"], cells["head_dim"]
    blocks = -(-context // quantize.BLOCK)
    q = rig.random("bf16", batch, heads, dim)
    caches = []
    for _ in range(rig.sets(batch * kv_heads * context * dim * (bits + 1) // 4)):
        packed = quantize.empty(batch * blocks, kv_heads, dim, bits, device=rig.device)
        for tensor in packed.tensors:
            if tensor.dtype == torch.int16:
                tensor.random_(-(1 << 15), 1 << 15)
            else:
                tensor.uniform_(0.01, 0.05)
        young = [rig.random("bf16", batch, kv_heads, quantize.BLOCK, dim) for _ in "kv"]
        pages, none = rig.full(blocks, batch), rig.full(0, batch)
        caches.append(kivi_cache.Cache(packed, rig.table(batch, blocks), pages, *young, none))
    out = torch.empty_like(q)
    size = caches[0].packed.nbytes + caches[0].table.nbytes + 2 * q.nbytes
    extra = {"bytes": size, "flops": 4 * batch * heads * context * dim}
    return Work(lambda i: kivi_decode.decode(q, caches[i], out=out), len(caches), heat=True, extra=extra)


def gathered(cells: dict, rig: Rig) -> Work:
    """Decode over `read` tokens of `context` that each kv head chose at random, `grain` tokens an entry."""
    batch, context, read, grain = (cells[name] for name in ("batch", "context", "read", "grain"))
    heads, kv_heads, dim = cells["heads"], cells["kv_heads"], cells["head_dim"]
    moved = 4 * batch * read * kv_heads * dim
    q, lengths = rig.random("bf16", batch, heads, dim), rig.full(read, batch, kv_heads)
    out, caches = torch.empty_like(q), []
    first = torch.arange(batch, device=rig.device)[:, None, None] * (context // grain)
    for _ in range(rig.sets(moved)):
        k, v = (rig.random("bf16", batch * context // PAGE, kv_heads, PAGE, dim) for _ in "kv")
        order = torch.rand(batch, kv_heads, context // grain, device=rig.device).argsort(-1)[:, :, : read // grain]
        caches.append((k, v, (order + first).int().contiguous()))
    extra = {"bytes": moved + caches[0][2].nbytes + 2 * q.nbytes, "flops": 4 * batch * heads * read * dim}
    return Work(lambda i: decode(q, *caches[i], lengths, grain=grain, out=out), len(caches), extra=extra)


def _others() -> list[Point]:
    """Kernels that the builders of the benchmarks make."""
    gqa = HEADS[0]
    table: list[tuple[str, int, int, int, int, int, Callable[[], cases.Work]]] = []
    for batch, mean in ((8, 2048), (8, 8192), (32, 2048), (32, 8192)):
        table.append(("ragged", batch, mean, mean, 16, PAGE, partial(bench_attention.ragged, batch, 8, 4, mean)))
    for batch, prefix, suffix in SHARED:
        build = partial(bench_attention.shared, batch, 8, 4, prefix, suffix)
        table.append(("shared_prefix", batch, prefix + suffix, suffix, 16, PAGE, build))
    for batch, tokens in COMPACT:
        for keep in (256, 1024, 2048):
            build = partial(bench_attention.compaction, batch, 8, tokens, keep)
            table.append(("compact", batch, tokens, keep, 16, 1, build))
    for bits in (2, 4):
        for batch, tokens in ((1, 128), (1, 2048), (1, 8192), (4, 512), (8, 2048), (8, 8192), (16, 128), (64, 128)):
            build = partial(kivi_bench.packing, batch, 8, tokens, 128, bits)
            table.append(("quantize_pack", batch, tokens, tokens, bits, 128, build))
    for queries in (1, 32, 512, 2048):
        for batch, tokens in ((1, 2048), (1, 8192), (1, 32768), (8, 2048), (8, 8192), (8, 32768), (32, 4096)):
            if batch * tokens * queries <= 1 << 26:
                name = {1: "scorer_tova", 32: "scorer_snapkv"}.get(queries, "scorer_h2o")
                table.append((name, batch, tokens, queries, 16, 1, partial(scorers._work, batch, tokens, queries)))
    for batch, tokens, rank in LOWRANK:
        table.append(("lowrank", batch, tokens, rank, 16, 1, partial(lowrank._work, batch, tokens, rank, 0)))
    found = [
        Point(_cells(kernel, batch, context, read, gqa, bits, grain), partial(_adapted, build))
        for kernel, batch, context, read, bits, grain, build in table
    ]
    for batch, heads, tokens in MLA:
        cells = _cells("mla", batch, tokens, tokens, (heads, 1, 576), 16, 64)
        found.append(Point(cells, partial(_adapted, partial(mla._work, batch, heads, tokens))))
    return found


def _adapted(build: Callable[[], cases.Work], rig: Rig) -> Work:
    work = build()
    return Work(lambda i: work.launch(i), work.sets, extra={"bytes": work.bytes, "flops": work.flops})
