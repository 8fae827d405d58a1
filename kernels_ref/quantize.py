"""Quantize-and-pack of KIVI: keys per channel, values per token, 2 or 4 bits, in blocks of 128 tokens.

A block of 128 tokens of one kv head is packed at once, as part of a page; younger tokens wait in full precision.
(KIVI's own code flushes keys every R tokens and values one by one; here both flush together: a page is never partial.)
Codes lie in planes: the 16-bit word (t, d) holds the codes of tokens t + ROWS * j of channel d, j being the slot of
`bits` bits, ROWS = 8 * bits. One mask over a tile of words then gives a whole plane of ROWS tokens, in order: decoding
needs no interleaving. Key tiles are [dim / 32, ROWS, 32] (channels last), value tiles [dim, ROWS] (tokens last): what a
matrix product sums over is contiguous. Minimum and scale are fp16 per group: scale = fp16((max - min) / (2^bits - 1)),
code = round_half_even((x - min) * (1 / scale)) in float32, clamped; x ~ min + scale * code.
Source: KIVI, arXiv 2402.02750, section 3; the layout is ours.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl

BLOCK = 128  # tokens that are packed at once: a page
CHUNK = 32  # channels that a kernel handles at a time


@dataclass(frozen=True)
class Packed:
    """Pages of packed blocks; every tensor is contiguous, [pages, kv_heads, ...].

    `k_codes` [dim / 32, ROWS, 32] and `v_codes` [dim, ROWS] int16; `k_scale`, `k_min` [128 / group, dim] and `v_scale`,
    `v_min` [dim / group, 128] fp16. ROWS = 8 * bits.
    """

    bits: int
    group: int
    k_codes: torch.Tensor
    k_scale: torch.Tensor
    k_min: torch.Tensor
    v_codes: torch.Tensor
    v_scale: torch.Tensor
    v_min: torch.Tensor

    @property
    def dim(self) -> int:
        """Channels of a head."""
        return self.v_codes.shape[2]

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """The six tensors, keys first."""
        return self.k_codes, self.k_scale, self.k_min, self.v_codes, self.v_scale, self.v_min

    @property
    def nbytes(self) -> int:
        """Bytes of all pages: dim * 128 * (bits + 32 / group) / 8 a head, a page, for keys and as much for values."""
        return sum(x.numel() * x.element_size() for x in self.tensors)


def empty(pages: int, kv_heads: int, dim: int, bits: int, group: int = 32, device: str = "cpu") -> Packed:
    """Pages without content. Raises ValueError for a size that the layout does not have."""
    if bits not in (2, 4) or group not in (32, 64, 128) or dim % group or dim % CHUNK:
        raise ValueError(f"bits must be 2 or 4, group 32, 64 or 128 and divide dim but got {bits}, {group}, {dim}")
    rows = 8 * bits
    shapes = [(dim // CHUNK, rows, CHUNK), (BLOCK // group, dim), (BLOCK // group, dim), (dim, rows)]
    shapes += [(dim // group, BLOCK)] * 2
    types = [torch.int16, torch.float16, torch.float16] * 2
    made = [torch.empty(pages, kv_heads, *s, dtype=t, device=device) for s, t in zip(shapes, types, strict=True)]
    return Packed(bits, group, *made)


@triton.jit
def affine(x, AXIS: tl.constexpr, BITS: tl.constexpr):
    """Codes (int32, shape of `x`), scale and minimum (fp16, without AXIS) of `x` float32."""
    low = tl.min(x, AXIS)
    high = tl.max(x, AXIS)
    low16 = low.to(tl.float16)
    scale16 = tl.div_rn(high - low, tl.full(low.shape, 2**BITS - 1, tl.float32)).to(tl.float16)
    scale = tl.expand_dims(scale16.to(tl.float32), AXIS)
    inverse = tl.div_rn(tl.full(scale.shape, 1.0, tl.float32), tl.where(scale > 0.0, scale, 1.0))
    code = (x - tl.expand_dims(low16.to(tl.float32), AXIS)) * inverse
    code = tl.minimum(tl.maximum(code, 0.0), 2.0**BITS - 1.0)
    whole = (code + 12582912.0).to(tl.int32, bitcast=True) & 15  # rounded half to even: 2^23 x 1.5 has no fraction bits
    return tl.where(scale > 0.0, whole, 0), scale16, low16


@triton.jit(do_not_specialize=["tokens", "blocks", "entries"])  # one compilation for all their values
def pack_kernel(
    k,
    v,
    table,
    k_codes,
    k_scale,
    k_min,
    v_codes,
    v_scale,
    v_min,
    tokens,
    blocks,
    entries,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Packs a chunk of 32 key channels and one group of value channels of a block: programs (head, block, chunk), the
    last fastest, so that neighbours read the same lines. The next group is asked for before this one is packed."""
    c = tl.program_id(0) % (DIM // 32)
    at = tl.program_id(0) // (DIM // 32) % entries
    head = tl.program_id(0) // (DIM // 32) // entries
    page = tl.load(table + at).to(tl.int64)
    if page < 0:
        return
    source = ((at // blocks).to(tl.int64) * KV_HEADS + head) * tokens * DIM + (at % blocks).to(tl.int64) * 128 * DIM
    unit = page * KV_HEADS + head
    row = tl.arange(0, ROWS)
    in_group = tl.arange(0, GROUP)
    channel = tl.arange(0, 32)
    # keys: a group is GROUP tokens of one channel
    word = tl.zeros([ROWS, 32], tl.int32)
    k_at = k + source + c * 32 + in_group[:, None] * DIM + channel[None, :]
    due = tl.load(k_at)
    for g in range(128 // GROUP):
        x = due.to(tl.float32)
        due = tl.load(k_at + (g + 1) * GROUP * DIM, mask=(in_group < 128 - (g + 1) * GROUP)[:, None], other=0.0)
        code, scale, low = affine(x, 0, BITS)
        at_scale = unit * (128 // GROUP * DIM) + g * DIM + c * 32 + channel
        tl.store(k_scale + at_scale, scale)
        tl.store(k_min + at_scale, low)
        slot = g * (GROUP // ROWS) + tl.arange(0, GROUP // ROWS)
        planes = tl.reshape(code, [GROUP // ROWS, ROWS, 32]) << (slot * BITS)[:, None, None]
        word += tl.sum(planes, 0)
    spot = unit * (DIM * ROWS) + c * (ROWS * 32) + row[:, None] * 32 + channel[None, :]
    tl.store(k_codes + spot, word.to(tl.int16))
    if c >= DIM // GROUP:
        return
    # values: a group is GROUP channels of one token
    word = tl.zeros([ROWS, GROUP], tl.int32)
    v_at = v + source + c * GROUP + row[:, None] * DIM + in_group[None, :]
    due = tl.load(v_at)
    for slot in range(128 // ROWS):
        x = due.to(tl.float32)
        due = tl.load(v_at + (slot + 1) * ROWS * DIM, mask=(row < 128 - (slot + 1) * ROWS)[:, None], other=0.0)
        code, scale, low = affine(x, 1, BITS)
        at_scale = unit * (DIM // GROUP * 128) + c * 128 + slot * ROWS + row
        tl.store(v_scale + at_scale, scale)
        tl.store(v_min + at_scale, low)
        word += code << (slot * BITS)
    spot = unit * (DIM * ROWS) + (c * GROUP + in_group)[None, :] * ROWS + row[:, None]
    tl.store(v_codes + spot, word.to(tl.int16))


def pack(k: torch.Tensor, v: torch.Tensor, table: torch.Tensor, into: Packed) -> None:
    """Packs `k`, `v` [batch, kv_heads, blocks * 128, dim] (contiguous) into the pages `table` [batch, blocks] int32.

    A page of -1 is skipped. Raises ValueError on shapes that do not fit. Values beyond +-65504 become infinite.
    """
    batch, kv_heads, tokens, dim = k.shape
    if v.shape != k.shape or table.shape != (batch, tokens // BLOCK) or tokens % BLOCK or dim != into.dim:
        raise ValueError(f"k, v must be alike, of whole blocks, table [batch, blocks] but got {k.shape}, {table.shape}")
    if not (k.is_contiguous() and v.is_contiguous() and table.is_contiguous()):
        raise ValueError("k, v and table must be contiguous")
    if table.numel():
        pack_kernel[(kv_heads * table.numel() * (dim // CHUNK),)](
            k,
            v,
            table,
            *into.tensors,
            tokens,
            tokens // BLOCK,
            table.numel(),
            KV_HEADS=kv_heads,
            DIM=dim,
            BITS=into.bits,
            GROUP=into.group,
            ROWS=8 * into.bits,
            num_warps=1,
        )


def affine_reference(x: torch.Tensor, bits: int, group: int, axis: int) -> tuple[torch.Tensor, ...]:
    """Codes, scale and minimum of `x` in groups of `group` along `axis` (-2 or -1), by the definition above."""
    parts = x.float().unflatten(axis, (-1, group)) if axis == -1 else x.float().unflatten(-2, (-1, group))
    over = -1 if axis == -1 else -2
    low, high = parts.amin(over, keepdim=True), parts.amax(over, keepdim=True)
    low16, scale16 = low.half(), ((high - low) / (2**bits - 1)).half()
    scale = scale16.float()
    code = ((parts - low16.float()) * (1 / torch.where(scale > 0, scale, 1.0))).clamp(0, 2**bits - 1).round()
    code = torch.where(scale > 0, code, 0.0)
    return code.reshape(x.shape).to(torch.int32), scale16.squeeze(over), low16.squeeze(over)


def pack_reference(k: torch.Tensor, v: torch.Tensor, bits: int, group: int) -> Packed:
    """The pages of `k`, `v` [blocks, kv_heads, 128, dim], one a block, in plain Torch."""
    blocks, heads, _, dim = k.shape
    rows = 8 * bits
    k_code, k_scale, k_min = affine_reference(k, bits, group, -2)
    v_code, v_scale, v_min = affine_reference(v, bits, group, -1)
    weight = 2 ** (bits * torch.arange(BLOCK // rows, device=k.device))

    def words(code: torch.Tensor) -> torch.Tensor:
        planes = code.reshape(blocks, heads, BLOCK // rows, rows, dim).long()
        return (planes * weight[:, None, None]).sum(2).to(torch.int16)

    k_words = words(k_code).unflatten(-1, (-1, CHUNK)).transpose(2, 3)
    across = [x.transpose(2, 3).contiguous() for x in (words(v_code), v_scale, v_min)]
    return Packed(bits, group, k_words.contiguous(), k_scale, k_min, *across)


def unpack(pages: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    """Dequantized keys and values [pages, kv_heads, 128, dim] in float64."""
    slots = pages.bits * torch.arange(16 // pages.bits, device=pages.k_codes.device)

    def tokens(words: torch.Tensor) -> torch.Tensor:  # [pages, heads, ROWS, dim] -> [pages, heads, 128, dim]
        codes = (words.long()[:, :, None] & 0xFFFF) >> slots[:, None, None]
        return (codes & (2**pages.bits - 1)).flatten(2, 3).double()

    def spread(x: torch.Tensor, axis: int) -> torch.Tensor:
        return x.double().repeat_interleave(pages.group, axis)

    k = tokens(pages.k_codes.transpose(2, 3).flatten(3)) * spread(pages.k_scale, 2) + spread(pages.k_min, 2)
    v_scale, v_min = (spread(x.transpose(2, 3), 3) for x in (pages.v_scale, pages.v_min))
    return k, tokens(pages.v_codes.transpose(2, 3)) * v_scale + v_min
