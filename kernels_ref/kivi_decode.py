"""Decode attention over KIVI-packed pages (quantize.py) and a full-precision residual, dequantized on the way.

A plain fused kernel is bound not by bytes but by instructions; here an element costs about 1.6. A mask over a pair of
16-bit words gives two codes as *subnormal fp16 numbers* (code * 2^-24 times the slot's weight), which the tensor cores
multiply exactly; the 2^-24 is undone once per score. Scales and minima never touch a code:

    score[t] = sum_d (q_d scale_d) code_td + sum_d q_d min_d        (d channels; once per group of tokens)
    out[d]   = sum_t (p_t scale_t) code_td + sum_t p_t min_t        (t tokens; once per group of channels)

Keys are the left operand [tokens, channels], values transposed [channels, tokens]: the few query heads of a GQA group
are then the narrow side (8 columns) of the matrix unit. One warp is a program: it needs no barrier.
A program takes one (sequence, kv head) and a run of pages; the last program of a row takes the residual.
"""

from functools import cache

import torch
import triton
import triton.language as tl

from kernels_ref import online, splits
from kernels_ref.decode import multiprocessors
from kernels_ref.kivi_cache import Cache
from kernels_ref.merge import merge
from kernels_ref.quantize import BLOCK

START_PAGES = 1  # what starting a program costs, in pages
UNIT = tl.constexpr(16777216.0)  # 2^24: one over the smallest subnormal of fp16


@triton.constexpr_function
def slot_weight(slot, bits, per):
    """What a plane's codes come multiplied by, when every `per` slots the words are shifted down."""
    return 2 ** (slot % per * bits)


@triton.jit
def append(items, item):
    """The tuple `items` with one more: tuples of tiles are how a kernel keeps arrays of them in registers."""
    return items + (item,)  # noqa: RUF005 (Triton knows no starred expressions)


@triton.jit
def in_order(x, ROWS: tl.constexpr, DEPTH: tl.constexpr):
    """[ROWS, DEPTH] with columns in the order of the matrix unit's fragments.

    A lane loads DEPTH / 4 neighbours at once; the unit wants pairs, 8 apart. A sum over columns does not mind, as long
    as both operands are permuted alike, and no data moves between lanes.
    """
    y = tl.permute(tl.reshape(x, [ROWS, 4, DEPTH // 16, 2, 2]), (0, 2, 3, 1, 4))
    return tl.reshape(y, [ROWS, DEPTH])


@triton.jit
def plane(words, SLOT: tl.constexpr, BITS: tl.constexpr, PER: tl.constexpr, PTX: tl.constexpr):
    """The codes of one slot of int16 `words`, as subnormal fp16: code * 2^-24 * slot_weight(SLOT, BITS, PER).

    PER slots must fit into the 10 bits of a mantissa. PTX takes two words an instruction; bits that cross from the
    neighbour in a shift are masked off.
    """
    DOWN: tl.constexpr = (SLOT // PER) * PER * BITS
    MASK: tl.constexpr = (2**BITS - 1) << ((SLOT % PER) * BITS)
    if PTX:
        PAIR: tl.constexpr = MASK * 65537
        if DOWN == 0:
            return tl.inline_asm_elementwise(
                f"and.b32 $0, $1, {PAIR};", "=r,r", [words], dtype=tl.float16, is_pure=True, pack=2
            )
        return tl.inline_asm_elementwise(
            f"{{ .reg .b32 t; shr.b32 t, $1, {DOWN}; and.b32 $0, t, {PAIR}; }}",
            "=r,r",
            [words],
            dtype=tl.float16,
            is_pure=True,
            pack=2,
        )
    return ((words >> DOWN) & MASK).to(tl.int16).to(tl.float16, bitcast=True)


@triton.jit
def packed_pages(
    q,
    table,
    first,
    last,
    head,
    k_codes,
    k_scale,
    k_min,
    v_codes,
    v_scale,
    v_min,
    scale,
    partial,
    lse,
    KV_HEADS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    PTX: tl.constexpr,
):
    """Attention of `q` (pointer to [GROUP_HEADS, DIM]) over the pages table[first:last]; stores output and its lse."""
    ROWS: tl.constexpr = 8 * BITS
    SLOTS: tl.constexpr = 16 // BITS
    PER_K: tl.constexpr = 5 if BITS == 2 else 2  # scores undo the weight in float32
    PER_V: tl.constexpr = 3 if BITS == 2 else 2  # weights p undo it in fp16: at most 16, to keep their range
    CHUNKS: tl.constexpr = DIM // 32
    GROUPS: tl.constexpr = 128 // GROUP
    PLANES: tl.constexpr = GROUP // ROWS  # planes that share a key scale
    row = tl.arange(0, ROWS)
    lane = tl.arange(0, 32)
    sixteen = tl.arange(0, 16)
    heads = tl.arange(0, HEADS)
    queries = ()
    acc = ()
    for c in tl.static_range(CHUNKS):
        at = heads[:, None] * DIM + c * 32 + lane[None, :]
        query = tl.load(q + at, mask=(heads < GROUP_HEADS)[:, None], other=0.0)
        queries = append(queries, query.to(tl.float16))
        acc = append(acc, tl.zeros([32, HEADS], tl.float32))
    floor = tl.zeros([16, HEADS], tl.float32)  # row g: sum of p * minimum over channel group g
    mass = tl.zeros([ROWS, HEADS], tl.float32)
    m = tl.full([HEADS], float("-inf"), tl.float32)
    page = tl.load(table + first, mask=first < last, other=0)
    for i in range(first, last):
        unit = page.to(tl.int64) * KV_HEADS + head
        page = tl.load(table + i + 1, mask=i + 1 < last, other=0)  # a page ahead: its address is known when it is due
        kc = k_codes + unit * (DIM * ROWS)
        vc = v_codes + unit * (DIM * ROWS)
        ks = k_scale + unit * (DIM * GROUPS)
        km = k_min + unit * (DIM * GROUPS)
        vs = v_scale + unit * (DIM // GROUP * 128)
        vm = v_min + unit * (DIM // GROUP * 128)

        s = ()
        for _ in tl.static_range(SLOTS):
            s = append(s, tl.zeros([ROWS, HEADS], tl.float32))
        z = tl.zeros([16, HEADS], tl.float32)  # row g: q . minimum of token group g (rows repeat)
        for c in tl.static_range(CHUNKS):
            words = in_order(tl.load(kc + c * (ROWS * 32) + row[:, None] * 32 + lane[None, :]), ROWS, 32)
            low = tl.load(km + (sixteen % GROUPS)[:, None] * DIM + c * 32 + lane[None, :])
            z = tl.dot(in_order(low, 16, 32), tl.trans(in_order(queries[c], HEADS, 32)), z)
            new = ()
            for g in tl.static_range(GROUPS):
                step = tl.load(ks + heads[:, None] * 0 + g * DIM + c * 32 + lane[None, :])
                scaled = tl.trans(in_order(queries[c] * step, HEADS, 32))
                for j in tl.static_range(PLANES):
                    codes = plane(words, g * PLANES + j, BITS, PER_K, PTX)
                    new = append(new, tl.dot(codes, scaled, s[g * PLANES + j]))
            s = new

        scores = ()
        top = tl.full([ROWS, HEADS], float("-inf"), tl.float32)
        for g in tl.static_range(GROUPS):
            offset = tl.sum(tl.where((sixteen == g)[:, None], z, 0.0), 0) * scale
            for j in tl.static_range(PLANES):
                back = UNIT / slot_weight(g * PLANES + j, BITS, PER_K)
                value = s[g * PLANES + j] * (scale * back) + offset[None, :]
                scores = append(scores, value)
                top = tl.maximum(top, value)
        m_new = tl.maximum(m, tl.max(top, 0))
        shrink = tl.exp2(m - m_new)
        m = m_new
        mass = mass * shrink[None, :]
        floor = floor * shrink[None, :]
        shrunk = ()
        for c in tl.static_range(CHUNKS):
            shrunk = append(shrunk, acc[c] * shrink[None, :])
        acc = shrunk

        weights = ()
        for j in tl.static_range(SLOTS):
            # 2^6 p, less the slot's weight
            p = tl.exp2(scores[j] - m[None, :]) * (64.0 / slot_weight(j, BITS, PER_V))
            mass += p * slot_weight(j, BITS, PER_V)
            p = tl.trans(p.to(tl.float16))
            weights = append(weights, p)
            low = tl.load(vm + (sixteen % (DIM // GROUP))[:, None] * 128 + j * ROWS + row[None, :])
            low = (low * slot_weight(j, BITS, PER_V)).to(tl.float16)
            floor = tl.dot(in_order(low, 16, ROWS), tl.trans(in_order(p, HEADS, ROWS)), floor)
        new_acc = ()
        for c in tl.static_range(CHUNKS):
            words = in_order(tl.load(vc + (c * 32 + lane)[:, None] * ROWS + row[None, :]), 32, ROWS)
            tile = acc[c]
            for j in tl.static_range(SLOTS):
                step = tl.load(vs + heads[:, None] * 0 + (c * 32 // GROUP) * 128 + j * ROWS + row[None, :])
                scaled = tl.trans(in_order(weights[j] * step, HEADS, ROWS))
                tile = tl.dot(plane(words, j, BITS, PER_V, PTX), scaled, tile)
            new_acc = append(new_acc, tile)
        acc = new_acc
    total = tl.sum(mass, 0)
    seen = total > 0.0
    safe = tl.where(seen, total, 1.0)
    mine = heads < GROUP_HEADS
    tl.store(lse + heads, tl.where(seen, m - 6.0 + tl.log2(safe), float("-inf")), mask=mine)
    for c in tl.static_range(CHUNKS):
        base = tl.sum(tl.where((sixteen == c * 32 // GROUP)[:, None], floor, 0.0), 0)
        out = (acc[c] * UNIT + base[None, :]) / safe[None, :]
        tl.store(partial + heads[None, :] * DIM + c * 32 + lane[:, None], out, mask=mine[None, :])


@triton.jit
def residual_tokens(
    q,
    k,
    v,
    tokens,
    scale,
    partial,
    lse,
    GROUP_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Attention over the `tokens` youngest keys and values [128, DIM], kept in full precision; stores the result."""
    heads = tl.arange(0, ROWS)
    d = tl.arange(0, PAD)
    t = tl.arange(0, 16)
    inside = (heads < GROUP_HEADS)[:, None] & (d < DIM)[None, :]
    query = tl.load(q + heads[:, None] * DIM + d[None, :], mask=inside, other=0.0)
    m, mass, acc = online.start(ROWS, PAD)
    for at in range(0, tokens, 16):
        here = at + t < tokens
        spot = (at + t)[:, None] * DIM + d[None, :]
        mask = here[:, None] & (d < DIM)[None, :]
        key = tl.load(k + spot, mask=mask, other=0.0)
        value = tl.load(v + spot, mask=mask, other=0.0)
        scores = tl.where(here[None, :], tl.dot(query, tl.trans(key)) * scale, float("-inf"))
        p, shrink, m, mass = online.update(scores, m, mass)
        acc = tl.dot(p.to(value.dtype), value, acc * shrink[:, None])
    out, whole = online.finish(m, mass, acc)
    tl.store(lse + heads, whole, mask=heads < GROUP_HEADS)
    tl.store(partial + heads[:, None] * DIM + d[None, :], out, mask=inside)


@triton.jit(do_not_specialize=["each", "table_width", "splits"])  # one compilation for all their values
def kivi_kernel(
    q,
    table,
    pages,
    residual,
    k_res,
    v_res,
    k_codes,
    k_scale,
    k_min,
    v_codes,
    v_scale,
    v_min,
    partial,
    lse,
    scale,
    each,
    table_width,
    splits,
    KV_HEADS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAD: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    PTX: tl.constexpr,
):
    """Programs (rows, splits + 1): the last of a row takes the residual, the others `each` pages. Shapes: `decode`."""
    at = tl.program_id(0)
    split = tl.program_id(1)
    batch = at // KV_HEADS
    slot = (at.to(tl.int64) * (splits + 1) + split) * GROUP_HEADS
    query = q + at.to(tl.int64) * GROUP_HEADS * DIM
    if split == splits:
        young = at.to(tl.int64) * 128 * DIM
        residual_tokens(
            query,
            k_res + young,
            v_res + young,
            tl.load(residual + batch),
            scale,
            partial + slot * DIM,
            lse + slot,
            GROUP_HEADS,
            DIM,
            PAD,
            16 if HEADS < 16 else HEADS,
        )
    else:
        last = tl.minimum((split + 1) * each, tl.load(pages + batch))
        packed_pages(
            query,
            table + batch * table_width,
            split * each,
            last,
            at % KV_HEADS,
            k_codes,
            k_scale,
            k_min,
            v_codes,
            v_scale,
            v_min,
            scale,
            partial + slot * DIM,
            lse + slot,
            KV_HEADS,
            GROUP_HEADS,
            HEADS,
            DIM,
            BITS,
            GROUP,
            PTX,
        )


def registers_of(columns: int) -> int:
    """Registers a thread gets: 168 let 12 warps live on a multiprocessor; more than 8 columns of heads need 255."""
    return 168 if columns == 8 else 255


@cache
def choose(rows: int, pages: int, sms: int, warps_per_sm: int) -> splits.Split:
    """How many pages a program takes: whatever makes rounds of `sms * warps_per_sm` programs end soonest.

    `splits.choose` would price a program's start dearer than it is where twelve share a multiprocessor.
    """

    def cost(each: int) -> int:
        return splits.ceil_div(rows * splits.ceil_div(pages, each), sms * warps_per_sm) * (each + START_PAGES)

    each = min(range(1, max(pages, 1) + 1), key=cost)
    return splits.Split(max(1, splits.ceil_div(pages, each)), each * BLOCK)


def decode(
    q: torch.Tensor,
    kv: Cache,
    scale: float | None = None,
    *,
    out: torch.Tensor | None = None,
    split: splits.Split | None = None,
) -> torch.Tensor:
    """Attention of `q` [batch, heads, dim] (contiguous, the residual's dtype) over `kv`: `out`, like `q`.

    |q| times a key group's scale, and 64 times a value group's, must stay below 65504, value minima within +-4094.
    `split` overrides how many programs share a row. Raises ValueError on shapes or types that do not fit.
    """
    batch, heads, dim = q.shape
    kv_heads = kv.k_young.shape[1]
    if heads % kv_heads or dim != kv.packed.dim or q.dtype != kv.k_young.dtype or not q.is_contiguous():
        raise ValueError(f"q must be contiguous, {kv.k_young.dtype}, dim {kv.packed.dim} but got {q.shape}")
    group_heads = heads // kv_heads
    rows = batch * kv_heads
    width = kv.table.shape[1]
    columns = max(8, triton.next_power_of_2(group_heads))
    registers = registers_of(columns)
    split = split or choose(rows, width, multiprocessors(q.device), 65536 // (32 * registers))
    slots = split.splits + 1
    partial = torch.empty(rows * slots, group_heads, dim, dtype=torch.float32, device=q.device)
    lse = torch.empty(rows * slots, group_heads, dtype=torch.float32, device=q.device)
    out = torch.empty_like(q) if out is None else out
    scale = (dim**-0.5 if scale is None else scale) * online.LOG2E
    kivi_kernel[(rows, slots)](
        q,
        kv.table,
        kv.pages,
        kv.young,
        kv.k_young,
        kv.v_young,
        *kv.packed.tensors,
        partial,
        lse,
        scale,
        split.tokens // BLOCK,
        width,
        split.splits,
        KV_HEADS=kv_heads,
        GROUP_HEADS=group_heads,
        HEADS=columns,
        DIM=dim,
        PAD=triton.next_power_of_2(dim),
        BITS=kv.packed.bits,
        GROUP=kv.packed.group,
        PTX=q.is_cuda,
        num_warps=1,
        num_stages=1,
        **({"maxnreg": registers} if q.is_cuda else {}),
    )
    return merge(partial, lse, out, splits=slots)
