"""Batches that hold decodes and one prompt's chunk, measured as one kernel: nothing is fitted to them."""

from dataclasses import replace
from typing import Any

import numpy as np

from kvsim.cost.calibration import BESIDE_CHUNK, Calibration, InSteps, Residuals
from kvsim.specs.hardware import Chip
from kvsim.validate import published
from kvsim.validate.instep import seconds
from kvsim.validate.residuals import residuals
from kvsim.validate.rows import Rows

TABLES = {"rtx-4090": "rtx4090_attention.csv.gz"}


def mixed(name: str, found: Calibration, chip: Chip) -> Residuals | None:
    """Coefficients of decodes beside a chunk, and of the chunk, against mixed batches; None without a table."""
    folder = published.folder()
    if name not in TABLES or folder is None:
        return None
    import pandas as pd

    frame: Any = pd.read_csv(folder / TABLES[name])
    frame = frame[(frame["prefill_chunk"] > 0) & (frame["n_decode"] > 0)]
    column = {key: frame[key].to_numpy(np.float64) for key in frame}
    heads = {"heads": np.full(len(frame), 32.0), "kv_heads": np.full(len(frame), 8.0)}
    heads["head_dim"] = np.full(len(frame), 128.0)
    measured_s = column["time_us"] * 1e-6
    decodes = {"batch": column["n_decode"], "context": column["kv_decode"], **heads}
    chunk = {"new": column["prefill_chunk"], "past": column["kv_prefill"], **heads}
    known = {one.op: one for one in found.in_steps}
    parts = (
        (known[BESIDE_CHUNK], Rows("attention_decode", "bf16", decodes, measured_s)),
        (
            known["attention_prefill"],
            Rows("attention_prefill", "bf16", chunk | {"batch": np.ones(len(frame))}, measured_s),
        ),
    )
    total = sum(seconds(one, chip, rows) for one, rows in parts)
    shape = {"decodes": decodes["batch"], "context": decodes["context"], "new": chunk["new"], "past": chunk["past"]}
    return residuals(replace(parts[0][1], shape=shape), np.asarray(total))


def with_mixed(name: str, found: Calibration, chip: Chip) -> Calibration:
    """`found` with these residuals at its coefficients."""
    left = mixed(name, found, chip)

    def told(one: InSteps) -> InSteps:
        return one.model_copy(update={"measured": left}) if one.op == BESIDE_CHUNK else one

    return found.model_copy(update={"in_steps": [told(one) for one in found.in_steps]})
