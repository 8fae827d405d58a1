"""Measurements of one class of Ops as columns, and which of them a fit may not see."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.calibration import Hot
from kvsim.specs.hardware import DTYPE_BYTES

Floats = NDArray[np.float64]

# Shapes by class of Op, and those that a half of the measurements is held out by: whole groups, never neighbours.
SHAPES: dict[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k"),
    "grouped_gemm": ("rows", "used", "n", "k"),
    "attention_decode": ("batch", "context", "heads", "kv_heads", "head_dim"),
    "ragged_decode": ("batch", "tokens", "longest", "heads", "kv_heads", "head_dim"),
    "attention_prefill": ("batch", "new", "past", "heads", "kv_heads", "head_dim"),
    "column_sums": ("flops", "bytes"),
    "packed_decode": ("batch", "context", "heads", "kv_heads", "head_dim", "bits"),
    "pack": ("batch", "tokens", "kv_heads", "head_dim", "bits"),
    "compaction": ("batch", "kept", "kv_heads", "head_dim"),
    "gathered_decode": ("batch", "context", "read", "heads", "kv_heads", "head_dim", "grain"),
    "mla_decode": ("batch", "context", "heads"),
    "lowrank_decode": ("batch", "context", "rank", "heads", "kv_heads", "head_dim"),
    "shared_prefix_decode": ("batch", "prefix", "suffix", "heads", "kv_heads", "head_dim"),
    "all_reduce": ("bytes", "gpus"),
    "copy": ("bytes", "pieces"),
    "elementwise": ("bytes", "launches"),
}
HELD_OUT_BY: dict[str, tuple[str, ...]] = {
    "gemm": ("n", "k"),
    "grouped_gemm": ("n", "k"),
    "attention_decode": ("heads", "kv_heads", "context"),
    "ragged_decode": ("batch", "tokens", "longest"),
    "attention_prefill": ("heads", "kv_heads", "new", "past"),
    "column_sums": ("flops",),
    "packed_decode": ("batch", "context", "heads", "kv_heads"),
    "pack": ("batch", "tokens", "bits"),
    "compaction": ("batch", "kept"),
    "gathered_decode": ("batch", "context", "read"),
    "mla_decode": ("batch", "context", "heads"),
    "lowrank_decode": ("batch", "context", "rank"),
    "shared_prefix_decode": ("batch", "prefix", "suffix"),
    "all_reduce": ("bytes", "gpus"),
    "copy": ("bytes", "pieces"),
    "elementwise": ("bytes", "launches"),
}


@dataclass(frozen=True)
class Rows:
    """`seconds` [rows] of one kernel at shapes [rows] each; `held` marks what no fit sees."""

    op: str
    dtype: str
    shape: Mapping[str, Floats]
    seconds: Floats

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def held(self) -> NDArray[np.bool_]:
        """Half of the groups, by a hash of their shape."""
        keys = zip(*(self.shape[name] for name in HELD_OUT_BY[self.op]), strict=True)
        return np.array([held_out(key) for key in keys], bool)

    @property
    def keyed(self) -> dict[str, Any]:
        """What a curve takes."""
        return {**self.shape, "dtype": self.dtype}

    def where(self, kept: NDArray[Any]) -> "Rows":
        """Some of the rows."""
        shape = {name: values[kept] for name, values in self.shape.items()}
        return replace(self, shape=shape, seconds=self.seconds[kept])

    def named(self, row: int) -> str:
        """A row's shape in the words of `kvsim op`."""
        return " ".join(f"{name}={values[row]:.0f}" for name, values in self.shape.items())

    def hot(self, benchmark: Hot | None, l2_bytes: float) -> Floats | float:
        """The share of each row's bytes that stays in L2 between a benchmark's repetitions."""
        if benchmark is None:
            return 0.0
        shape, width = self.shape, DTYPE_BYTES[self.dtype]
        if self.op == "gemm":
            m, n, k = shape["m"], shape["n"], shape["k"]
            bytes_ = benchmark.copies * n * k * width + m * k * width + 2 * m * n
        elif self.op == "attention_decode":
            bytes_ = 2 * shape["batch"] * shape["context"] * shape["kv_heads"] * shape["head_dim"] * width
        else:
            tokens = shape["batch"] * shape["head_dim"] * 4
            bytes_ = tokens * (shape["new"] * shape["heads"] + (shape["past"] + shape["new"]) * shape["kv_heads"])
        share: Floats = 1 / (1 + (bytes_ / (benchmark.l2_share * l2_bytes)) ** 6)
        return share


def held_out(key: Sequence[float]) -> bool:
    """Whether a group of shapes is in the half that fits do not see."""
    return bool(zlib.crc32("x".join(f"{value:.0f}" for value in key).encode()) & 1)
