"""Ops of the policies' own kernels by shape, as `kvsim op` takes them: packed, gathered, latent and shared caches."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kvsim.cost.op import GPU, Num, Op
from kvsim.errors import UserError

LATENT, ROPE = 512, 64  # channels of MLA's cache, DeepSeek-V2 (arXiv:2405.04434)
GROUP = 32  # elements that share a scale
CODE_INSTRUCTIONS = 1.6  # of a machine, for an element of KIVI's: docs/kernels_quantized.md


def _packed_decode(*, batch: Num, context: Num, heads: Num, kv_heads: Num, head_dim: Num, bits: Num = 2) -> Op:
    """Decode attention over KIVI's pages."""
    elements = 2 * batch * context * kv_heads * head_dim
    shape = {"batch": batch, "context": context, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    flops = {"bf16": 4 * batch * context * heads * head_dim, "alu": CODE_INSTRUCTIONS * elements}
    moved = elements * (_bits(bits) + 32 / GROUP) / 8 + 4 * batch * heads * head_dim
    return Op("packed_decode", "packed_decode", GPU, flops, moved, shape=shape | {"bits": bits, "dtype": f"int{bits}"})


def _pack(*, batch: Num, tokens: Num, kv_heads: Num, head_dim: Num, bits: Num = 2) -> Op:
    """KIVI's quantize-and-pack of the keys and values of whole blocks."""
    elements = 2 * batch * tokens * kv_heads * head_dim
    shape = {"batch": batch, "tokens": tokens, "kv_heads": kv_heads, "head_dim": head_dim, "bits": bits}
    return Op("pack", "pack", GPU, {}, elements * (2 + (_bits(bits) + 32 / GROUP) / 8), shape=shape | {"dtype": "bf16"})


def _compaction(*, batch: Num, kept: Num, kv_heads: Num, head_dim: Num) -> Op:
    """Kept tokens' keys, or values, copied into a smaller cache."""
    shape = {"batch": batch, "kept": kept, "kv_heads": kv_heads, "head_dim": head_dim, "dtype": "bf16"}
    return Op("compaction", "compaction", GPU, {}, batch * kept * kv_heads * (4.0 * head_dim + 4), shape=shape)


def _gathered_decode(*, batch: Num, read: Num, heads: Num, kv_heads: Num, head_dim: Num, grain: Num = 16) -> Op:
    """Decode attention over `read` tokens that each kv head chose, listed by pages or (grain=1) one by one."""
    shape = {"batch": batch, "read": read, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "grain": grain}
    moved = 4.0 * batch * read * kv_heads * (head_dim + 1 / grain) + 4 * batch * heads * head_dim
    flops = {"bf16": 4 * batch * read * heads * head_dim}
    return Op("gathered_decode", "gathered_decode", GPU, flops, moved, shape=shape | {"dtype": "bf16"})


def _mla_decode(*, batch: Num, context: Num, heads: Num) -> Op:
    """Decode attention over MLA's latents, absorbed."""
    flops = {"bf16": 2 * batch * heads * context * (2 * LATENT + ROPE)}
    moved = 2.0 * batch * (context * (LATENT + ROPE) + heads * (2 * LATENT + ROPE))
    shape = {"batch": batch, "context": context, "heads": heads, "dtype": "bf16"}
    return Op("mla_decode", "mla_decode", GPU, flops, moved, shape=shape)


def _lowrank_decode(*, batch: Num, context: Num, rank: Num, heads: Num, kv_heads: Num, head_dim: Num) -> Op:
    """Decode attention over keys rebuilt from `rank` channels that kv heads share, values as they are."""
    rebuilt = 2 * batch * kv_heads * context * rank * head_dim
    shape: dict[str, Any] = {"batch": batch, "context": context, "rank": rank, "heads": heads, "kv_heads": kv_heads}
    flops = {"bf16": rebuilt + 4 * batch * heads * context * head_dim}
    moved = 2.0 * batch * context * (rank + kv_heads * head_dim) + 4 * batch * heads * head_dim
    shape |= {"head_dim": head_dim, "dtype": "bf16"}
    return Op("lowrank_decode", "lowrank_decode", GPU, flops, moved, shape=shape)


def _shared_prefix_decode(*, batch: Num, prefix: Num, suffix: Num, heads: Num, kv_heads: Num, head_dim: Num) -> Op:
    """Decode attention of sequences that share a prefix, which is read once for all of them."""
    shape: dict[str, Any] = {"batch": batch, "prefix": prefix, "suffix": suffix, "heads": heads, "kv_heads": kv_heads}
    flops = {"bf16": 4 * batch * heads * (prefix + suffix) * head_dim}
    moved = 4.0 * (prefix + batch * suffix) * kv_heads * head_dim + 4 * batch * heads * head_dim
    shape |= {"head_dim": head_dim, "dtype": "bf16"}
    return Op("shared_prefix_decode", "shared_prefix_decode", GPU, flops, moved, shape=shape)


def _bits(bits: Num) -> Num:
    if np.ndim(bits) or bits not in (2, 4):
        raise UserError(f"op: bits must be 2 or 4, one figure for all shapes, but got {bits!r}")
    return bits


KINDS: dict[str, Callable[..., Op]] = {
    "packed_decode": _packed_decode,
    "pack": _pack,
    "compaction": _compaction,
    "gathered_decode": _gathered_decode,
    "mla_decode": _mla_decode,
    "lowrank_decode": _lowrank_decode,
    "shared_prefix_decode": _shared_prefix_decode,
}
