"""Benchmark cases of the decode kernels: dense, fp8, gathered, ragged, shared prefix, compaction."""

from collections.abc import Callable
from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa

from kernels_ref.cases import Case, Work
from kernels_ref.compact import compact
from kernels_ref.configs import Config, pick_suffix
from kernels_ref.decode import decode, multiprocessors
from kernels_ref.prefix import decode_shared, in_one_piece, in_pages
from kernels_ref.ragged import CONFIG, decode_ragged, plan
from kernels_ref.timing import sets_beyond_l2

PAGE = 16
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "fp8": torch.float8_e4m3fn}


def random(*shape: int, dtype: str = "bfloat16") -> torch.Tensor:
    """Standard normal data on the GPU, made in slices so that fp8 needs no large float copy."""
    out = torch.empty(*shape, dtype=DTYPES[dtype], device="cuda")
    for piece in out.view(-1).split(1 << 26):
        piece.copy_(torch.randn(len(piece), device="cuda", dtype=torch.float16))
    return out


def table_of(*shape: int) -> torch.Tensor:
    """A random permutation of the pages 0 .. n - 1 as a table [*shape] int32."""
    return torch.randperm(torch.Size(shape).numel(), device="cuda").view(shape).int()


def full(tokens: int, *shape: int) -> torch.Tensor:
    """Lengths [*shape] int32, all `tokens`."""
    return torch.full(shape, tokens, dtype=torch.int32, device="cuda")


def torch_peers(query: torch.Tensor, dense: list[list[torch.Tensor]]) -> dict[str, Callable[[int], object]]:
    """PyTorch's SDPA and its backends: `query` [batch, heads, rows, dim], keys and values contiguous."""

    def call(backends: list[SDPBackend] | None, i: int) -> torch.Tensor:
        if backends is None:
            return sdpa(query, *dense[i], enable_gqa=True)
        with sdpa_kernel(backends):
            return sdpa(query, *dense[i], enable_gqa=True)

    return {
        "sdpa": partial(call, None),
        "sdpa_flash": partial(call, [SDPBackend.FLASH_ATTENTION]),
        "sdpa_cudnn": partial(call, [SDPBackend.CUDNN_ATTENTION]),
    }


def dense(batch: int, kv_heads: int, group: int, tokens: int, dim: int, dtype: str) -> Work:
    """Paged decode over full rows, pages in random order."""
    q = random(batch, kv_heads * group, dim, dtype="float16" if dtype == "fp8" else dtype)
    kv_bytes = 2 * batch * kv_heads * tokens * dim * DTYPES[dtype].itemsize
    pages, sets = batch * tokens // PAGE, sets_beyond_l2(kv_bytes)
    caches = [
        (*(random(pages, kv_heads, PAGE, dim, dtype=dtype) for _ in "kv"), table_of(batch, tokens // PAGE))
        for _ in range(sets)
    ]
    n = full(tokens, batch)
    contiguous = [[x.view(batch, kv_heads, -1, dim) for x in cache[:2]] for cache in caches]  # the same bytes
    scales = torch.ones(kv_heads, device="cuda") if dtype == "fp8" else None
    return Work(
        lambda i, config=None: decode(q, *caches[i], n, k_scale=scales, v_scale=scales, config=config),
        sets,
        kv_bytes + 2 * q.nbytes,
        4 * batch * kv_heads * group * tokens * dim,
        {} if dtype == "fp8" else torch_peers(q[:, :, None], contiguous),
    )


def gathered(batch: int, kv_heads: int, group: int, tokens: int, read: int, grain: int) -> Work:
    """Decode over `read` of `tokens` tokens a row, chosen at random per kv head, `grain` an entry; bf16, dim 128."""
    dim = 128
    q = random(batch, kv_heads * group, dim)
    kv_bytes = 2 * batch * kv_heads * read * dim * 2
    pages = batch * tokens // PAGE
    sets = sets_beyond_l2(kv_bytes)
    caches = []
    for _ in range(sets):
        k, v = (random(pages, kv_heads, PAGE, dim) for _ in "kv")
        order = torch.rand(batch, kv_heads, tokens // grain, device="cuda").argsort(-1)[:, :, : read // grain]
        listed = order + torch.arange(batch, device="cuda")[:, None, None] * (tokens // grain)
        caches.append((k, v, listed.int().contiguous()))
    n = full(read, batch, kv_heads)
    return Work(
        lambda i, config=None: decode(q, *caches[i], n, grain=grain, config=config),
        sets,
        kv_bytes + caches[0][2].nbytes + 2 * q.nbytes,
        4 * batch * kv_heads * group * read * dim,
    )


def ragged(batch: int, kv_heads: int, group: int, mean_tokens: int) -> Work:
    """Decode over heads whose lengths are drawn log-uniformly over two decades around a mean; bf16, dim 128."""
    dim = 128
    q = random(batch, kv_heads * group, dim)
    drawn = 10 ** (2 * torch.rand(batch, kv_heads, generator=torch.Generator().manual_seed(5)))
    lengths = (drawn / drawn.mean() * mean_tokens).int().clamp_min(1)
    entries = (lengths + PAGE - 1) // PAGE
    total, most = int(entries.sum()), int(entries.max())
    kv_bytes = 2 * int(lengths.sum()) * dim * 2
    sets = sets_beyond_l2(kv_bytes)
    caches = []
    for _ in range(sets):
        order, at = torch.randperm(total).int(), 0
        table = torch.zeros(batch * kv_heads, most, dtype=torch.int32)
        for row, count in enumerate(entries.view(-1).tolist()):
            table[row, :count] = order[at : at + count]
            at += count
        caches.append((*(random(total, 1, PAGE, dim) for _ in "kv"), table.view(batch, kv_heads, most).cuda()))
    the_plan = plan(lengths, CONFIG, multiprocessors(q.device), "cuda")
    n = lengths.cuda()
    return Work(
        lambda i: decode_ragged(q, *caches[i], n, the_plan),
        sets,
        kv_bytes + 2 * q.nbytes,
        4 * group * int(lengths.sum()) * dim,
    )


def shared(batch: int, kv_heads: int, group: int, prefix: int, suffix: int, pages: bool = False) -> Work:
    """Shared-prefix decode, bf16, dim 128: the prefix in one piece, or in `pages` like the suffixes. Peers do less:
    each part alone by the same kernels, and the prefix part by PyTorch's over all keys at once."""
    dim = 128
    q = random(batch, kv_heads * group, dim)
    kv_bytes = 2 * (prefix + batch * suffix) * kv_heads * dim * 2
    sets = sets_beyond_l2(kv_bytes)
    own = batch * suffix // PAGE
    pieces = [[random(kv_heads, prefix, dim) for _ in "kv"] for _ in range(sets)]
    caches = [(*(random(own, kv_heads, PAGE, dim) for _ in "kv"), table_of(batch, suffix // PAGE)) for _ in range(sets)]
    prefixes = [in_one_piece(*piece) for piece in pieces]
    if pages:
        p, table = full(prefix, 1), table_of(prefix // PAGE)
        prefixes = [in_pages(*(x.view(-1, kv_heads, PAGE, dim) for x in piece), table, p) for piece in pieces]
    n = full(suffix, batch)

    def launch(i: int, config: Config | None = None) -> torch.Tensor:
        return decode_shared(q, prefixes[i], *caches[i], n, prefix_config=config, pieces=0 if config else None)

    tall = q.view(kv_heads, batch * group, dim)
    alone = [[x[None] for x in piece] for piece in pieces]
    none, small = full(0, batch), pick_suffix(suffix)
    peers = {
        "empty_suffixes": lambda i: decode_shared(q, prefixes[i], *caches[i], none),
        "suffixes_only": lambda i: decode(q, *caches[i], n, config=small),
        **{f"prefix_only_{k}": v for k, v in torch_peers(tall[None], alone).items()},
    }
    return Work(launch, sets, kv_bytes + 2 * q.nbytes, 4 * batch * kv_heads * group * (prefix + suffix) * dim, peers)


def compaction(batch: int, kv_heads: int, tokens: int, keep: int) -> Work:
    """Copy of `keep` of `tokens` tokens a row into a smaller cache (one tensor, as keys or values); bf16, dim 128."""
    dim = 128
    one = batch * kv_heads * keep * dim * 2
    sets = sets_beyond_l2(2 * one)
    n = full(keep, batch, kv_heads)
    caches = []
    for _ in range(sets):
        order = torch.rand(batch, kv_heads, tokens, device="cuda").argsort(-1)[:, :, :keep].sort(-1).values
        slots = (order + torch.arange(batch, device="cuda")[:, None, None] * tokens).int()
        target = random(batch * keep // PAGE, kv_heads, PAGE, dim)
        new = table_of(batch, keep // PAGE)[:, None].expand(batch, kv_heads, keep // PAGE)
        caches.append((random(batch * tokens // PAGE, kv_heads, PAGE, dim), target, slots, n, new))
    return Work(lambda i: compact(*caches[i]), sets, 2 * one + caches[0][2].nbytes, 0)


def _cases() -> list[Case]:
    cases = []

    def add(kernel: str, build: Callable[..., Work], quick: bool = False, **shape: int | str) -> None:
        cases.append(Case(kernel, shape, partial(build, **shape), quick))

    base = {"kv_heads": 8, "group": 4, "dim": 128}
    for batch, tokens in [
        (8, 512),
        (8, 2048),
        (8, 8192),
        (32, 2048),
        (8, 16384),
        (8, 32768),
        (64, 4096),
        (128, 2048),
        (1, 32768),
        (1, 131072),
    ]:
        for dtype in ("bfloat16", "fp8"):
            add("decode", dense, (batch, tokens) == (8, 8192), batch=batch, tokens=tokens, dtype=dtype, **base)
    add("decode", dense, batch=8, tokens=32768, dtype="float16", **base)
    for group, dim in [(1, 128), (7, 128), (8, 128), (4, 64), (4, 96), (8, 64)]:
        add("decode", dense, batch=16, tokens=8192, dtype="bfloat16", kv_heads=8, group=group, dim=dim)
    for read in (2048, 8192):
        for grain in (PAGE, 1):
            add("gathered", gathered, read == 2048, batch=8, kv_heads=8, group=4, tokens=16384, read=read, grain=grain)
    for batch, mean in [(8, 8192), (8, 32768), (32, 8192)]:
        add("ragged", ragged, mean == 8192, batch=batch, kv_heads=8, group=4, mean_tokens=mean)
    few = {"kv_heads": 8, "group": 4}
    for batch, prefix, suffix in [
        (8, 32768, 16),
        (16, 8192, 128),
        (16, 32768, 128),
        (64, 8192, 128),
        (64, 32768, 128),
        (256, 8192, 128),
        (256, 32768, 16),
        (256, 131072, 16),
        (16, 131072, 128),
    ]:
        add("shared_prefix", shared, batch == 64, batch=batch, prefix=prefix, suffix=suffix, **few)
        if prefix == 32768:
            add("shared_paged", shared, batch=batch, prefix=prefix, suffix=suffix, pages=True, **few)
    for keep in (1024, 4096):
        add("compact", compaction, keep == 1024, batch=8, kv_heads=8, tokens=16384, keep=keep)
    return cases


CASES = _cases()
