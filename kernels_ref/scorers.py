"""The scorers of SnapKV, H2O and TOVA: column sums of attention, which flash attention never shows.

All three ask how much some queries attend to each key: SnapKV sums over a window of the last queries and pools, H2O
over all queries so far, TOVA takes the last query's mean over heads. Two kernels: `row_lse_kernel` finds each query's
log-sum-exp, `column_kernel` recomputes the scores and sums exp(score - lse) down the columns. Rows are stored between
the two only where they are fewer bytes than the keys (a single query, as in TOVA).
Sources: SnapKV, arXiv 2404.14469, section 4; H2O, arXiv 2306.14048, algorithm 1; TOVA, arXiv 2401.06104, section 3.2.
"""

from functools import partial

import torch
import triton
import triton.language as tl

from kernels_ref import online
from kernels_ref.cases import Case, Work
from kernels_ref.timing import sets_beyond_l2


@triton.jit
def query_tile(
    q, row, first, queries, GROUP: tl.constexpr, DIM: tl.constexpr, ROWS: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Query rows `first`.. [ROWS, BLOCK_D]; a row is (query, member of the group), so that rows go by position."""
    r = first + tl.arange(0, ROWS)
    d = tl.arange(0, BLOCK_D)
    at = q + (row.to(tl.int64) * GROUP + r % GROUP)[:, None] * queries * DIM + (r // GROUP)[:, None] * DIM + d[None, :]
    return tl.load(at, mask=(r < GROUP * queries)[:, None] & (d < DIM)[None, :], other=0.0)


@triton.jit
def key_tile(k, row, t, length, tokens, DIM: tl.constexpr, BLOCK_D: tl.constexpr):
    """Keys `t` [KEYS, BLOCK_D]."""
    d = tl.arange(0, BLOCK_D)
    at = k + row.to(tl.int64) * tokens * DIM + t[:, None] * DIM + d[None, :]
    return tl.load(at, mask=(t < length)[:, None] & (d < DIM)[None, :], other=0.0)


@triton.jit
def positions(first, before, queries, GROUP: tl.constexpr, ROWS: tl.constexpr):
    """Where the queries of rows `first`.. sit, [ROWS]: query i at before + i, which sees keys up to it. Rows beyond the
    last, and queries before the sequence's start, get a negative place: they see none."""
    r = first + tl.arange(0, ROWS)
    return tl.where(r < GROUP * queries, before + r // GROUP, -1)


@triton.jit(do_not_specialize=["queries", "tokens", "split_tokens", "splits"])
def row_lse_kernel(
    q,
    k,
    lengths,
    lse,
    kept,
    queries,
    tokens,
    split_tokens,
    splits,
    scale,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    KEEP: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program (block of query rows, split of keys, (sequence, kv head)): base-2 log-sum-exp of that split.

    With KEEP (few query rows) the scores are stored too, so that the keys are read once.
    """
    row = tl.program_id(2)
    first = tl.program_id(0) * BLOCK_M
    split = tl.program_id(1)
    length = tl.load(lengths + row // KV_HEADS)
    before = length - queries
    end = tl.minimum(length, before + (first + BLOCK_M - 1) // GROUP + 1)  # no row of mine sees further
    q_tile = query_tile(q, row, first, queries, GROUP, DIM, BLOCK_M, BLOCK_D)
    r = first + tl.arange(0, BLOCK_M)
    position = positions(first, before, queries, GROUP, BLOCK_M)
    m, mass, nothing = online.start(BLOCK_M, 1)
    for at in range(split * split_tokens, tl.minimum((split + 1) * split_tokens, end), BLOCK_N):
        t = at + tl.arange(0, BLOCK_N)
        scores = tl.dot(q_tile, tl.trans(key_tile(k, row, t, length, tokens, DIM, BLOCK_D)))
        scores = tl.where(t[None, :] <= position[:, None], scores, float("-inf"))
        if KEEP:
            width = tl.cdiv(tokens, BLOCK_N) * BLOCK_N
            keep = kept + (row.to(tl.int64) * GROUP * queries + r)[:, None] * width + t[None, :]
            tl.store(keep, scores, mask=(r < GROUP * queries)[:, None])
        _p, _shrink, m, mass = online.update(scores, m, mass, scale)
    nothing, whole = online.finish(m * scale, mass, nothing)
    tl.store(lse + (row * GROUP * queries + r) * splits + split, whole, mask=r < GROUP * queries)


@triton.jit
def whole_lse(lse, at, live, splits, SPLITS: tl.constexpr):
    """Base-2 log-sum-exp [ROWS] over the splits of rows `at`; 0 where a row has no key."""
    s = tl.arange(0, SPLITS)
    part = tl.load(
        lse + at[:, None] * splits + s[None, :], mask=live[:, None] & (s < splits)[None, :], other=float("-inf")
    )
    most = tl.max(part, 1)
    safe = tl.where(most == float("-inf"), 0.0, most)
    mass = tl.sum(tl.exp2(part - safe[:, None]), 1)
    return tl.where(mass > 0.0, safe + tl.log2(tl.where(mass > 0.0, mass, 1.0)), 0.0)


@triton.jit(do_not_specialize=["queries", "tokens", "splits"])
def column_kernel(
    q,
    k,
    lengths,
    lse,
    kept,
    sums,
    queries,
    tokens,
    splits,
    scale,
    KV_HEADS: tl.constexpr,
    GROUP: tl.constexpr,
    DIM: tl.constexpr,
    KEEP: tl.constexpr,
    ADD: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Program (block of keys, (sequence, kv head)): sums over all query rows of the group; ADD keeps what was there."""
    row = tl.program_id(1)
    begin = tl.program_id(0) * BLOCK_N
    t = begin + tl.arange(0, BLOCK_N)
    length = tl.load(lengths + row // KV_HEADS)
    before = length - queries
    total = tl.zeros([BLOCK_N], tl.float32)
    if begin < length:
        if not KEEP:
            key = key_tile(k, row, t, length, tokens, DIM, BLOCK_D)
        earliest = tl.maximum(begin - before, 0) * GROUP // BLOCK_M * BLOCK_M  # rows before it see none of my keys
        for first in range(earliest, GROUP * queries, BLOCK_M):
            r = first + tl.arange(0, BLOCK_M)
            live = r < GROUP * queries
            at = row.to(tl.int64) * GROUP * queries + r
            if KEEP:
                width = tl.cdiv(tokens, BLOCK_N) * BLOCK_N
                mask = (t < length)[:, None] & live[None, :]
                scores = tl.load(kept + at[None, :] * width + t[:, None], mask=mask, other=float("-inf"))
            else:
                q_tile = query_tile(q, row, first, queries, GROUP, DIM, BLOCK_M, BLOCK_D)
                scores = tl.dot(key, tl.trans(q_tile))  # keys down the rows: sums over queries stay in a lane
                position = positions(first, before, queries, GROUP, BLOCK_M)
                scores = tl.where(t[:, None] <= position[None, :], scores, float("-inf"))
            whole = whole_lse(lse, at, live, splits, SPLITS)
            total += tl.sum(tl.exp2(scores * scale - whole[None, :]), 1)
    to = sums + row.to(tl.int64) * tokens + t
    if ADD:
        total += tl.load(to, mask=t < tokens, other=0.0)
    tl.store(to, total, mask=t < tokens)


def column_sums(
    q: torch.Tensor,
    k: torch.Tensor,
    lengths: torch.Tensor,
    into: torch.Tensor | None = None,
    add: bool = False,
    block_n: int = 128,
) -> torch.Tensor:
    """Attention that each key gets, summed over the last queries and a group's query heads: [batch, kv_heads, tokens].

    `q` [batch, heads, queries, dim], the last `queries` of the sequence; `k` [batch, kv_heads, tokens, dim]; both
    contiguous; `lengths` [batch] int32: tokens in use. float32; keys out of use get 0, or, with `add`, keep theirs.
    Queries before a short sequence's start count nothing. Raises ValueError on shapes that do not fit.
    """
    batch, heads, queries, dim = q.shape
    kv_heads, tokens = k.shape[1:3]
    if heads % kv_heads or k.shape[3] != dim or not (q.is_contiguous() and k.is_contiguous()):
        raise ValueError(f"q and k must be contiguous, heads a multiple of kv_heads but got {q.shape}, {k.shape}")
    group, rows = heads // kv_heads, batch * kv_heads
    sums = torch.empty(batch, kv_heads, tokens, dtype=torch.float32, device=q.device) if into is None else into
    block_m = min(64, max(16, triton.next_power_of_2(group * queries)))
    blocks = triton.cdiv(group * queries, block_m)
    splits = max(1, min(64, 1024 // (blocks * rows), triton.cdiv(tokens, block_n)))
    split_tokens = triton.cdiv(triton.cdiv(max(tokens, 1), splits), block_n) * block_n
    shape = {
        "KV_HEADS": kv_heads,
        "GROUP": group,
        "DIM": dim,
        "KEEP": 2 * 4 * group * queries < dim * k.element_size(),  # float32 scores out and in against keys once more
        "BLOCK_M": block_m,
        "BLOCK_N": block_n,
        "BLOCK_D": triton.next_power_of_2(dim),
    }
    scale = dim**-0.5 * online.LOG2E
    width = triton.cdiv(tokens, block_n) * block_n
    kept = torch.empty(rows, group * queries, width, device=q.device) if shape["KEEP"] else None
    lse = torch.empty(rows * group * queries, splits, dtype=torch.float32, device=q.device)
    row_lse_kernel[(blocks, splits, rows)](
        q, k, lengths, lse, kept, queries, tokens, split_tokens, splits, scale, **shape, num_warps=4
    )
    column_kernel[(triton.cdiv(tokens, block_n), rows)](
        q,
        k,
        lengths,
        lse,
        kept,
        sums,
        queries,
        tokens,
        splits,
        scale,
        ADD=add and into is not None,
        SPLITS=triton.next_power_of_2(splits),
        **shape,
        num_warps=4,
        num_stages=2,
    )
    return sums


def snapkv(q: torch.Tensor, k: torch.Tensor, lengths: torch.Tensor, kernel: int = 5, pool: str = "avg") -> torch.Tensor:
    """SnapKV's votes per kv head [batch, kv_heads, tokens]: window sums, mean over the group, pooled over neighbours.

    `q` holds the window's queries. Pooling runs over the prefix alone; the window itself is always kept: votes of inf.
    Keys out of use get -inf.
    """
    window, group = q.shape[2], q.shape[1] // k.shape[1]
    sums = column_sums(q, k, lengths) / group
    at = torch.arange(k.shape[2], device=k.device)
    prefix = at < (lengths - window).clamp_min(0)[:, None, None]
    sums = torch.where(prefix, sums, 0.0)
    pooling = torch.nn.functional.avg_pool1d if pool == "avg" else torch.nn.functional.max_pool1d
    votes = pooling(sums, kernel, stride=1, padding=kernel // 2)
    in_use = at < lengths[:, None, None]
    return torch.where(prefix, votes, torch.where(in_use, float("inf"), float("-inf")))


def h2o_prefill(q: torch.Tensor, k: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """H2O's accumulated scores of a prompt, per kv head: `q` holds all its queries."""
    return column_sums(q, k, lengths)


def h2o_step(q: torch.Tensor, k: torch.Tensor, lengths: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Adds the attention of one new query [batch, heads, dim] to `scores`, in place."""
    return column_sums(q[:, :, None].contiguous(), k, lengths, into=scores, add=True)


def tova(q: torch.Tensor, k: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """TOVA's scores [batch, tokens]: the last query's ([batch, heads, dim]) attention, mean over a layer's heads."""
    return column_sums(q[:, :, None].contiguous(), k, lengths).sum(1) / q.shape[1]


def column_sums_reference(q: torch.Tensor, k: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """`column_sums` in float64, sequence by sequence, with the whole attention matrix."""
    batch, _, queries, dim = q.shape
    kv_heads, tokens = k.shape[1:3]
    sums = torch.zeros(batch, kv_heads, tokens, dtype=torch.float64, device=q.device)
    for b in range(batch):
        n = int(lengths[b])
        take = min(queries, n)
        if take == 0:
            continue
        query = q[b, :, queries - take :].double().unflatten(0, (kv_heads, -1))
        scores = query @ k[b, :, None, :n].double().transpose(-1, -2) * dim**-0.5
        future = torch.ones(take, n, dtype=torch.bool, device=q.device).triu(n - take + 1)
        sums[b, :, :n] = scores.masked_fill(future, float("-inf")).softmax(-1).sum((1, 2))
    return sums


def _work(batch: int, tokens: int, queries: int) -> Work:
    kv_heads, group, dim = 8, 4, 128
    size = batch * kv_heads * tokens * dim * 2
    sets = sets_beyond_l2(size)
    keys = [torch.randn(batch, kv_heads, tokens, dim, device="cuda", dtype=torch.bfloat16) for _ in range(sets)]
    q = torch.randn(batch, kv_heads * group, queries, dim, device="cuda", dtype=torch.bfloat16)
    n = torch.full((batch,), tokens, device="cuda", dtype=torch.int32)
    pairs = queries * tokens - queries * (queries - 1) // 2
    return Work(
        lambda i: column_sums(q, keys[i], n),
        sets,
        size + q.nbytes + batch * kv_heads * tokens * 4,
        2 * batch * kv_heads * group * pairs * dim,
    )


CASES = [
    Case(name, {"batch": b, "tokens": t, "queries": n}, partial(_work, b, t, n), quick=n != 8192)
    for name, b, t, n in [("scorer_tova", 8, 32768, 1), ("scorer_snapkv", 8, 32768, 32), ("scorer_h2o", 1, 8192, 8192)]
]
