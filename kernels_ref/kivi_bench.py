"""Benchmark cases of quantize-and-pack and of decode over KIVI's packed cache, beside the dense bf16 decode."""

from functools import partial

import torch

from kernels_ref import kivi_cache, kivi_decode, quantize
from kernels_ref.bench_attention import dense
from kernels_ref.cases import Case, Work
from kernels_ref.timing import sets_beyond_l2


def packed(batch: int, kv_heads: int, group: int, tokens: int, dim: int, bits: int) -> Work:
    """Decode over whole pages of random data (an empty residual); the peer reads the same tokens in bf16."""
    peer = dense(batch, kv_heads, group, tokens, dim, "bfloat16")
    size = 2 * batch * kv_heads * tokens * dim * (bits + 1) // 8
    caches = []
    for _ in range(sets_beyond_l2(size)):
        k, v = (torch.randn(batch, kv_heads, tokens, dim, device="cuda").bfloat16() for _ in "kv")
        caches.append(kivi_cache.from_dense(k, v, [tokens] * batch, bits))
        del k, v
    q = torch.randn(batch, kv_heads * group, dim, device="cuda").bfloat16()
    sets = min(peer.sets, len(caches))
    return Work(
        lambda i, **config: kivi_decode.decode(q, caches[i % len(caches)], **config),
        len(caches),
        caches[0].packed.nbytes + caches[0].table.nbytes + 2 * q.nbytes,
        4 * batch * kv_heads * group * tokens * dim,
        {"dense_bf16": lambda i: peer.launch(i % sets)},
    )


def packing(batch: int, kv_heads: int, tokens: int, dim: int, bits: int) -> Work:
    """Quantize-and-pack of a prompt's keys and values."""
    k, v = (torch.randn(2, batch, kv_heads, tokens, dim, device="cuda").bfloat16() for _ in "kv")
    caches = [kivi_cache.from_dense(k[i], v[i], [tokens] * batch, bits) for i in range(2)]
    size = 2 * k[0].nbytes + caches[0].packed.nbytes
    return Work(lambda i: quantize.pack(k[i], v[i], caches[i].table, caches[i].packed), 2, size, 0)


def _cases() -> list[Case]:
    cases = []
    for bits in (2, 4):
        for batch, tokens, group, dim in [
            (8, 32768, 4, 128),
            (64, 4096, 4, 128),
            (128, 2048, 4, 128),
            (8, 8192, 4, 128),
            (1, 131072, 4, 128),
            (16, 32768, 4, 64),
            (8, 32768, 1, 128),
            (8, 32768, 16, 128),
            (8, 32768, 4, 96),
        ]:
            shape = {"batch": batch, "kv_heads": 8, "group": group, "tokens": tokens, "dim": dim, "bits": bits}
            cases.append(Case(f"kivi{bits}", shape, partial(packed, **shape), quick=tokens * batch == 8 * 8192))
        shape = {"batch": 8, "kv_heads": 8, "tokens": 8192, "dim": 128, "bits": bits}
        cases.append(Case("quantize_pack", shape, partial(packing, **shape), quick=True))
    return cases


CASES = _cases()
