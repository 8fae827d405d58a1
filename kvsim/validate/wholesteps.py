"""Whole steps of Llama-3.1-8B on an RTX 4090, added up from its measured kernels, against what the engine prices."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kvsim import find
from kvsim.cost.calibration import NOTHING, Residuals
from kvsim.cost.curves import Floats
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy
from kvsim.validate import published
from kvsim.validate.residuals import residuals
from kvsim.validate.rows import Rows

ATTENTION, DENSE, PER_SEQUENCE = (f"rtx4090_{name}.csv.gz" for name in ("attention", "dense", "per_sequence"))
HW, MODEL, LAYERS = "rtx4090", "llama-3-8b", 32
ONCE = ("embedding", "final_layernorm")  # a step; the other dense parts once a layer
TWICE = "layernorm"
MOST_TOKENS, MOST_SEQUENCES = 2048, 256  # measured of the parts that are not attention


def whole_steps() -> dict[tuple[str, str], Residuals]:
    """Residuals by (decode | prefill | mixed, curves | datasheet); nothing where the tables are not at hand."""
    folder = published.folder()
    if folder is None or not all((folder / table).is_file() for table in (ATTENTION, DENSE, PER_SEQUENCE)):
        return {}
    import pandas as pd

    frame = pd.read_csv(folder / ATTENTION)
    column: dict[str, Any] = {name: frame[name].to_numpy(np.int64) for name in map(str, frame) if name != "time_us"}
    sequences = column["n_decode"] + (column["prefill_chunk"] > 0)
    tokens = column["n_decode"] + column["prefill_chunk"]
    known = (tokens <= MOST_TOKENS) & (sequences <= MOST_SEQUENCES)
    column = {name: values[known] for name, values in column.items()}
    took_us = LAYERS * frame["time_us"].to_numpy(np.float64)[known]
    for layer, part in pd.read_csv(folder / DENSE).groupby("layer"):
        times = 1 if layer in ONCE else 2 * LAYERS if layer == TWICE else LAYERS
        took_us = took_us + times * np.interp(tokens[known], part["tokens"], part["time_us"])
    for _, part in pd.read_csv(folder / PER_SEQUENCE).groupby("layer"):
        took_us = took_us + np.interp(sequences[known], part["sequences"], part["time_us"])
    chunked, decodes = column["prefill_chunk"] > 0, column["n_decode"] > 0
    kinds = {"decode": ~chunked & decodes, "prefill": chunked & ~decodes, "mixed": chunked & decodes}
    machine = find.machine(HW)
    both = {"curves": Rates.of(machine, 1), "datasheet": Rates(machine.chip, machine.host_link, machine.peer_links[0])}
    assert both["datasheet"].curves is NOTHING
    found = {}
    for label, rates in both.items():
        priced_s = _priced_s(rates, column)
        for kind, these in kinds.items():
            shape = {name: values[these].astype(np.float64) for name, values in column.items()}
            found[kind, label] = residuals(Rows("step", "bf16", shape, took_us[these] * 1e-6), priced_s[these])
    return found


def _priced_s(rates: Rates, column: Mapping[str, Any]) -> Floats:
    """GPU seconds of each step by the engine's pricer."""
    pricer = Pricer(Layout(policy("full"), find.model(MODEL), 1, 16), rates)
    names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
    seconds = []
    for new, past, decodes, context in zip(*(column[name].tolist() for name in names), strict=True):
        rows = (pricer.ledger_rows(max(context - 1, 1), 1)[:, 0] * decodes).tolist() if decodes else ()
        chunk = pricer.chunk(new, past) if new else None
        seconds.append(float(pricer.price(decodes, rows, chunk, 1 if new else 0)[0]))
    return np.array(seconds)
