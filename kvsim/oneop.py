"""One Op by its shape: seconds, roofline, efficiency, bound and provenance. What `kvsim op` and `kvsim.op` show."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost import kernels, policykernels
from kvsim.cost.op import D2H, H2D, NIC, Num, Op
from kvsim.cost.rates import Rates
from kvsim.cost.source import DATASHEET
from kvsim.errors import UserError, unknown
from kvsim.specs.hardware import DTYPE_BYTES


@dataclass(frozen=True)
class OneOp:
    """An Op's time on a machine; arrays (`bound`: a list) where its arguments were."""

    seconds: Num
    roofline_s: Num
    efficiency: Num
    bound: str | list[str]
    provenance: str
    expected_error: float

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in vars(self).items()}


def _gemm(*, m: Num, n: Num, k: Num, dtype: str = "bf16") -> Op:
    return kernels.gemm("gemm", m, n, k, _dtype(dtype))


def _grouped_gemm(*, rows: Num, used: Num, n: Num, k: Num, dtype: str = "bf16") -> Op:
    return kernels.expert_gemms("grouped_gemm", rows, used, n, k, _dtype(dtype))


def _attention_decode(
    *, batch: Any, context: Any, heads: Any, kv_heads: Any, head_dim: Any, kv_dtype: str = "bf16", longest: Any = 0
) -> Op:
    tokens = batch * context
    width = _dtype_bytes(kv_dtype)
    instructions = tokens * kv_heads * head_dim * 2 * 2 if width < 2 else 0
    moved = 2 * tokens * kv_heads * head_dim * width
    flops = 4 * tokens * heads * head_dim
    query_bytes = 4.0 * heads * head_dim
    shape = {"batch": batch, "context": context, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    shape |= {"dtype": kv_dtype}
    found = kernels.attention_decode("attention_decode", batch, flops, moved, query_bytes, instructions, 1, 1, shape)
    if not np.any(longest):
        return found
    if np.any(longest < np.asarray(context)):
        raise UserError("op attention_decode: longest must be at least context, the mean of all rows")
    return replace(found, kind="ragged_decode", shape={**shape, "tokens": tokens, "longest": longest})


def _attention_prefill(*, batch: Any, new: Any, past: Any = 0, heads: Any, kv_heads: Any, head_dim: Any) -> Op:
    pairs = new * past + new * (new + 1) / 2
    moved = batch * (4.0 * new * heads * head_dim + 4.0 * (past + new) * kv_heads * head_dim)
    shape = {"batch": batch, "new": new, "past": past, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim}
    shape |= {"dtype": "bf16"}
    return kernels.attention_prefill("attention_prefill", batch * pairs * 4 * heads * head_dim, moved, 1, 1, shape)


def _copy(
    *, bytes: Num, lane: str = H2D, request_bytes: Num = 0, queue_depth: Num = 0, way: str = "pinned", pieces: Num = 1
) -> Op:
    if lane not in COPY_LANES:
        raise UserError(f"op copy: lane must be {', '.join(COPY_LANES[:-1])} or {COPY_LANES[-1]}, but got {lane!r}")
    grain = {"request_bytes": request_bytes, "queue_depth": queue_depth}
    if any(np.ndim(value) for value in grain.values()):
        raise UserError("op copy: request_bytes and queue_depth must be single numbers")
    if way not in COPY_WAYS:
        raise unknown("way", way, COPY_WAYS, "op copy")
    shape: dict[str, Any] = {name: value for name, value in grain.items() if value}
    if way != "pinned":  # priced by its own curve, which only host links have
        if lane not in (H2D, D2H):
            raise UserError(f"op copy: way={way} crosses the host link: lane must be {H2D} or {D2H}, but got {lane!r}")
        shape |= {"bytes": bytes, "pieces": pieces, "dtype": lane, "kernel": COPY_WAYS[way]}
    return kernels.copy("copy", lane, bytes, shape=shape)


def _all_reduce(*, bytes: Num, gpus: int) -> Op:
    return kernels.all_reduce("all_reduce", bytes, gpus)


COPY_WAYS = {  # over the host link, by the kernel or call that was measured
    "pinned": "cudaMemcpyAsync, pinned",
    "pageable": "cudaMemcpy, pageable",
    "pages": "cudaMemcpyAsync a piece, pinned",
    "rows": "cudaMemcpy2DAsync, pinned",
    "gather": "a kernel over mapped memory",
}
COPY_LANES = (H2D, D2H, "nvme_read", "nvme_write", "cxl", NIC)
_OWN: dict[str, Callable[..., Op]] = {
    "gemm": _gemm,
    "grouped_gemm": _grouped_gemm,
    "attention_prefill": _attention_prefill,
    "attention_decode": _attention_decode,
    "copy": _copy,
    "all_reduce": _all_reduce,
}
KINDS = _OWN | policykernels.KINDS


_TEXTS = ("dtype", "kv_dtype", "lane", "way")
_MOST = 1e18


def op(kind: str, *, hw: str, kernels: str = "", **shape: Any) -> OneOp:
    """One Op on one chip of `hw` (all_reduce: on `gpus` chips of it).

    Args:
        kind: gemm (m n k dtype), grouped_gemm (rows used n k dtype), attention_decode (batch context heads kv_heads
            head_dim kv_dtype; longest of rows whose mean is context), attention_prefill (batch new past heads kv_heads
            head_dim), copy (lane bytes, over the host link also way pieces, of a drive request_bytes queue_depth),
            all_reduce (bytes gpus), load (context model tier policy level); of policies' kernels packed_decode, pack,
            compaction, gathered_decode, mla_decode, lowrank_decode, shared_prefix_decode.
        kernels: words, by commas; of several kernels of a class one whose name holds a word prices it.
        shape: its arguments: positive numbers, or arrays of one shape.

    Raises:
        UserError: an unknown Op, argument or machine, a figure that is not positive.
    """
    if kind == "load":
        return _load(hw, shape)
    if kind not in KINDS:
        raise unknown("op", kind, [*KINDS, "load"])
    known = KINDS[kind].__kwdefaults__ or {}
    names = KINDS[kind].__code__.co_varnames[: KINDS[kind].__code__.co_kwonlyargcount]
    for key in shape:
        if key not in names:
            raise unknown("argument", key, names, f"op {kind}")
    missing = [name for name in names if name not in shape and name not in known]
    if missing:
        raise UserError(f"op {kind}: needs {' '.join(missing)}; it takes {' '.join(names)}")
    figures: dict[str, Any] = {
        key: str(value) if key in _TEXTS else _positive(kind, key, value) for key, value in shape.items()
    }
    try:
        np.broadcast_shapes(*(np.shape(value) for value in figures.values()))
    except ValueError:
        raise UserError(f"op {kind}: lists must be of one length") from None
    find.check_kernels(kernels)
    machine = find.machine(hw).preferring(kernels)
    gpus = figures.get("gpus", 1)
    if np.ndim(gpus) or (kind == "all_reduce" and (gpus < 2 or gpus > machine.chips or gpus != int(gpus))):
        if machine.chips < 2:
            raise UserError(
                f"op {kind}: {machine.name} has 1 chip, which has nobody to share with: add x2, x4 or x8 to --hw"
            )
        raise UserError(
            f"op {kind}: gpus must be 2 to {machine.chips} ({machine.name} has that many), but got {gpus!r}"
        )
    if kind == "all_reduce":
        figures["gpus"] = gpus = int(gpus)
    rates = Rates.of(machine, gpus)
    built = KINDS[kind](**figures)
    if kind == "copy" and "kernel" in built.shape and rates.fitted(built) is None:
        raise UserError(
            f"op copy: way={figures['way']} was not measured over {machine.host_link.name}; only way=pinned is priced"
        )
    if built.kind == "ragged_decode" and rates.fitted(built) is None:
        raise UserError(f"op attention_decode: longest was not measured on {machine.chip.name}; leave it out")
    seconds, ideal = rates.seconds(built), rates.ideal_seconds(built)
    bounds, source = rates.bounds(built), rates.source(built)
    bound = bounds if np.ndim(seconds) else bounds[0]
    return OneOp(seconds, ideal, ideal / seconds, bound, source.text, source.expected_error)


def _load(hw: str, shape: dict[str, Any]) -> OneOp:
    """The way of a context's cache from a tier to HBM."""
    from kvsim.oneload import load

    names = ("context", "model", "tier", "policy", "level")
    for key in shape:
        if key not in names:
            raise unknown("argument", key, names, "op load")
    if missing := [name for name in ("context", "model") if name not in shape]:
        raise UserError(f"op load: needs {' '.join(missing)}; it takes {' '.join(names)}")
    found = load(hw=hw, **shape)
    return OneOp(
        found.seconds, found.roofline_s, found.roofline_s / found.seconds, found.bound, DATASHEET.text,
        DATASHEET.expected_error,
    )  # fmt: skip


def _positive(kind: str, key: str, value: Any) -> Num:
    array = np.asarray(value)
    may_be_0 = key in ("past", "request_bytes", "queue_depth")
    least, what = (0, "0 or a positive number") if may_be_0 else (np.finfo(float).tiny, "a positive number")
    if array.dtype.kind not in "iuf" or array.size == 0 or not np.all(np.isfinite(array)) or np.any(array < least):
        raise UserError(f"op {kind}: {key} must be {what}, but got {value!r}")
    if np.any(array > _MOST):
        raise UserError(f"op {kind}: {key} must be at most {_MOST:g}, but got {value!r}")
    return array.astype(np.float64) if array.ndim else array.item()


def _dtype(dtype: str) -> str:
    if dtype not in DTYPE_BYTES:
        raise unknown("dtype", dtype, DTYPE_BYTES)
    return dtype


def _dtype_bytes(dtype: str) -> float:
    return DTYPE_BYTES[_dtype(dtype)]
