"""Readers of measurement tables: those that others published, by their columns, and kvsim's own CSVs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.find import ROOT
from kvsim.validate.rows import SHAPES, Rows

LLAMA_8B = {
    "qkv_proj": (6144, 4096),
    "o_proj": (4096, 4096),
    "gate_up_proj": (28672, 4096),
    "down_proj": (4096, 14336),
    "lm_head": (128256, 4096),
}
NO_COLUMNS: Mapping[str, str] = {}
# What policies.csv has in columns of its own, by class of Ops.
_NAMED = {
    "pack": {"context": "tokens"},
    "compaction": {"read": "kept"},
    "lowrank_decode": {"read": "rank"},
    "shared_prefix_decode": {"read": "suffix"},
}
_DTYPES = {"bf16": "bfloat16", "fp8": "fp8"}


def folder() -> Path | None:
    """Where published tables lie, if they are here: KVSIM_SHARED/measurements."""
    shared = os.environ.get("KVSIM_SHARED")
    found = Path(shared) / "measurements" if shared else None
    return found if found and found.is_dir() else None


def read(chip: str, op: str, dtype: str, tables: Sequence[str], where: Mapping[str, str] = NO_COLUMNS) -> Rows | None:
    """The rows of one class of Ops of a chip (or link); None where a published table is not at hand.

    `where`: values of columns that a row of our own tables must have. A GEMM in several of our own is one row of its
    measurements' geometric mean.

    Raises:
        UserError: a table of ours lacks a column.
    """
    parts, ours = [], True
    for table in tables:
        own = ROOT / "hardware" / "calibration" / (table if "/" in table else f"{chip}/{table}")
        published = folder()
        if own.is_file():
            parts.append(_own(own, op, dtype, where))
        elif published and (published / table).is_file():
            ours = False
            parts.append(_published(published / table, op, dtype))
        else:
            return None
    shape = {name: np.concatenate([part.shape[name] for part in parts]) for name in SHAPES[op]}
    rows = Rows(op, dtype, shape, np.concatenate([part.seconds for part in parts]))
    return _mean(rows) if ours and op == "gemm" and len(parts) > 1 else rows


def _mean(rows: Rows) -> Rows:
    """A row a shape, in the order of their first."""
    shapes = np.stack(list(rows.shape.values()), axis=1)
    _, first, which, count = np.unique(shapes, axis=0, return_index=True, return_inverse=True, return_counts=True)
    mean = np.exp(np.bincount(which.ravel(), np.log(rows.seconds)) / count)
    order = np.argsort(first)
    return replace(rows.where(first[order]), seconds=mean[order])


def _frame(path: Path) -> Any:
    import pandas as pd

    return pd.read_csv(path)


def _own(path: Path, op: str, dtype: str, where: Mapping[str, str]) -> Rows:
    """A CSV of kvsim: a column for each name of the shape, `dtype`, `seconds`; of others, those of `where`, by `|`."""
    frame = _frame(path)
    if op == "copy" and "dtype" not in frame:
        frame = frame.rename(columns={"lane": "dtype"})
    frame = frame.rename(columns=_NAMED.get(op, {}))
    if op == "shared_prefix_decode" and "prefix" not in frame:
        frame["prefix"] = frame["context"] - frame["suffix"]
    missing = [name for name in (*SHAPES[op], *where, "dtype", "seconds") if name not in frame]
    if missing:
        raise UserError(f"{path}: lacks the column {missing[0]!r}; {op} takes {', '.join(SHAPES[op])}, dtype, seconds")
    kept = frame["dtype"].notna() if "dtype" in where else frame["dtype"] == dtype
    for name, value in where.items():
        kept &= frame[name].fillna("").astype(str).isin(value.split("|"))
    return _rows(op, dtype, frame[kept], 1.0, seconds="seconds")


def _published(path: Path, op: str, dtype: str) -> Rows:
    frame = _frame(path)
    if op == "gemm" and "layer" in frame:  # Llama-3.1-8B's layers by tokens
        frame = frame[frame["layer"].isin(LLAMA_8B)].copy()
        frame["n"], frame["k"] = zip(*(LLAMA_8B[layer] for layer in frame["layer"]), strict=True)
        frame["m"] = frame["tokens" if "tokens" in frame else "sequences"]
        return _rows(op, dtype, frame, 1e-6, seconds="time_us")
    if op == "gemm":
        return _rows(op, dtype, frame[frame["gemm_dtype"] == _DTYPES[dtype]], 1e-3, seconds="latency_ms")
    if op == "all_reduce":
        frame = frame[(frame["op_name"] == op) & (frame["nccl_dtype"] == "half")].copy()
        frame["bytes"] = frame["message_size"] * 2
        return _rows(op, dtype, frame, 1e-3, seconds="latency", gpus="num_gpus")
    if "prefill_chunk" in frame:
        return _llama_attention(frame, op, dtype)
    frame = frame[frame["kv_cache_dtype"] == _DTYPES[dtype]].copy()
    names = {"seconds": "latency_ms", "batch": "batch_size", "heads": "num_heads", "kv_heads": "num_key_value_heads"}
    if op == "attention_decode":
        frame["context"] = frame["isl"] + frame["step"]
        return _rows(op, dtype, frame, 1e-3, **names)
    frame = frame[frame["isl"] > 1]  # one new token is a decode step
    return _rows(op, dtype, frame, 1e-3, new="isl", past="step", **names)


def _llama_attention(frame: Any, op: str, dtype: str) -> Rows:
    """One layer's attention of Llama-3.1-8B: rows of decodes alone, or of one prompt's chunk alone."""
    frame = frame.assign(heads=32, kv_heads=8, head_dim=128, one=1)
    if op == "attention_decode":
        frame = frame[(frame["prefill_chunk"] == 0) & (frame["n_decode"] > 0)]
        return _rows(op, dtype, frame, 1e-6, seconds="time_us", batch="n_decode", context="kv_decode")
    frame = frame[(frame["n_decode"] == 0) & (frame["prefill_chunk"] > 0)]
    return _rows(op, dtype, frame, 1e-6, seconds="time_us", batch="one", new="prefill_chunk", past="kv_prefill")


def _rows(op: str, dtype: str, frame: Any, unit_s: float, **names: str) -> Rows:
    """Columns as SI floats; `names` says which of the frame's columns a name is."""
    column = {name: frame[names.get(name, name)].to_numpy(np.float64) for name in (*SHAPES[op], "seconds")}
    seconds = column.pop("seconds") * unit_s
    return Rows(op, dtype, column, seconds)
