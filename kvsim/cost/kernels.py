"""Ops by shape: GEMM, attention, element-wise passes, copies, all-reduce. FLOPs and bytes of one kernel each."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kvsim.cost.op import GPU, PEER, Num, Op
from kvsim.specs.hardware import DTYPE_BYTES
from kvsim.specs.model import weight_element_bytes

ACTIVATION_BYTES = 2.0


def operand(dtype: str) -> str:
    """The type that the tensor cores multiply for weights of `dtype`: int4 is widened to bf16 on the way."""
    return "bf16" if dtype == "int4" else dtype


def gemm(name: str, m: Num, n: Num, k: Num, dtype: str = "bf16", count: Any = 1) -> Op:
    """[m, k] x [k, n]: 2mnk FLOPs; weights once, activations in and out."""
    moved = n * k * weight_element_bytes(dtype) + m * (n + k) * ACTIVATION_BYTES
    shape = {"m": m, "n": n, "k": k, "dtype": dtype}
    return Op(name, "gemm", GPU, {operand(dtype): 2 * m * n * k}, moved, count=count, shape=shape)


def affine_gemm(name: str, m: Num, n: float, k: float, dtype: str, count: Any) -> list[Op]:
    """The same without its shape: priced as a roofline, affine in m, which the sums of a batch allow.

    The weights are an Op of their own, so that what is left is proportional to m.
    """
    whole = gemm(name, m, n, k, dtype, count)
    weights = n * k * weight_element_bytes(dtype)
    return [
        weights_read(f"{name}_weights", weights, count),
        replace(whole, bytes=m * (n + k) * ACTIVATION_BYTES, shape={}),
    ]


def weights_read(name: str, moved: float, count: Any) -> Op:
    """Weights that a kernel of another Op reads, whatever the batch: no launch."""
    return elementwise(name, moved, 0.0, count)


def grouped_gemm(name: str, m: Num, active: int, experts: int, n: float, k: float, dtype: str, count: int) -> Op:
    """m tokens, each through `active` of `experts` weight matrices [k, n].

    Routing is taken as uniform: experts x (1 - (1 - active / experts)^m) weight matrices are read.
    """
    return expert_gemms(name, m * active, experts * (1 - (1 - active / experts) ** m), n, k, dtype, count)


def expert_gemms(name: str, rows: Num, used: Num, n: Num, k: Num, dtype: str = "bf16", count: int = 1) -> Op:
    """`rows` rows over the weight matrices [k, n] of `used` experts, as evenly as chance has it."""
    moved = used * n * k * weight_element_bytes(dtype) + rows * (n + k) * ACTIVATION_BYTES
    shape = {"rows": rows, "used": used, "n": n, "k": k, "dtype": dtype}
    return Op(name, "grouped_gemm", GPU, {operand(dtype): 2 * rows * n * k}, moved, count=count, shape=shape)


def elementwise(name: str, moved: Num, launches: float = 1.0, count: Any = 1, instructions: Num = 0) -> Op:
    """A streaming pass over `moved` bytes in and out; `instructions` on the plain cores, if they could matter."""
    return Op(name, "elementwise", GPU, {"alu": instructions}, moved, launches, count)


def host_sync(name: str, times: Any, count: Any = 1) -> Op:
    """The host waits for the GPU and goes on, `times` in turn: the GPU idles as long as 8 launches (20 us, assumed)."""
    return elementwise(name, 0.0, 8.0, times * count)


def attention_decode(
    name: str,
    queries: Num,
    flops: Num,
    kv_bytes: Num,
    query_bytes: float,
    dequantize: Num,
    launches: float,
    count: int,
    shape: Mapping[str, Any],
) -> Op:
    """One query token a sequence over its cache: `flops` on the tensor cores, `dequantize` plain-core instructions."""
    work = {"bf16": flops, "alu": dequantize} if not isinstance(dequantize, int) or dequantize else {"bf16": flops}
    return Op(name, "attention_decode", GPU, work, kv_bytes + queries * query_bytes, launches, count, shape=shape)


def attention_prefill(name: str, flops: Num, moved: Num, launches: float, count: int, shape: Mapping[str, Any]) -> Op:
    """New tokens against past and new ones, causal, fused."""
    return Op(name, "attention_prefill", GPU, {"bf16": flops}, moved, launches, count, shape=shape)


def copy(
    name: str, lane: str, moved: Num, transfers: float = 1.0, count: int = 1, shape: Mapping[str, Any] | None = None
) -> Op:
    """A transfer between tiers on a lane of its own; `shape` may hold its request_bytes and queue_depth."""
    return Op(name, "copy", lane, {}, moved, transfers, count, shape=shape or {})


def all_reduce(name: str, size: Num, gpus: int, count: int = 1) -> Op:
    """Sum of `size` bytes over `gpus` chips: a ring moves 2 (gpus - 1) / gpus of them over each chip's link."""
    shape = {"bytes": size, "gpus": gpus, "dtype": "bf16"}
    return Op(name, "all_reduce", PEER, {}, size * (2 * (gpus - 1) / gpus), count=count, gpus=gpus, shape=shape)


def kv_element_bytes(dtype: str) -> float:
    """Bytes of one cached element."""
    return DTYPE_BYTES[dtype]
