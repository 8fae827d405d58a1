"""Board power from measured classes of work: a constant while busy, joules a FLOP by type, joules a byte of HBM.

Fitted to `hardware/calibration/<chip>/power.csv`, where each class ran for a second: least relative error of watts over
all its rows, none below 0. Copies over the host link are left out: the chip hardly works.
"""

import numpy as np

from kvsim import oneop
from kvsim.cost.calibration import Power
from kvsim.find import ROOT
from kvsim.validate.solve import digits

CLASSES = ("gemm", "attention_decode", "attention_prefill")
NAMES = ("heads", "kv_heads", "head_dim", "batch", "context", "new", "past", "m", "n", "k")


def power(chip: str) -> Power | None:
    """The coefficients of a chip; None where its power was not measured. Needs scipy."""
    import pandas as pd
    from scipy.optimize import nnls

    path = ROOT / "hardware" / "calibration" / chip / "power.csv"
    if not path.is_file():
        return None
    frame = pd.read_csv(path).fillna({"shape": ""})
    idle = float(frame.loc[frame["kernel"] == "idle", "sampled_w"].iloc[0])
    terms, watts = [], []
    for row in frame[frame["kernel"].isin(CLASSES)].to_dict("records"):
        shape = dict(word.split("=") for word in str(row["shape"]).split() if "=" in word)
        given: dict[str, object] = {name: int(value) for name, value in shape.items()}
        if row["kernel"] == "gemm":
            given["dtype"] = row["dtype"]
        elif row["kernel"] == "attention_decode":
            given["kv_dtype"] = row["dtype"]
        op = oneop.KINDS[str(row["kernel"])](**given)
        work = {unit: float(np.asarray(flops)) for unit, flops in op.flops.items()}
        seconds = float(row["seconds"])
        rates = (work.get("bf16", 0.0), work.get("fp8", 0.0), float(np.asarray(op.bytes)))
        terms.append([1.0, *(rate / seconds for rate in rates)])
        watts.append(float(row["sampled_w"]))
    scaled = np.array(terms) / np.array(watts)[:, None]
    size = scaled.max(axis=0)
    found = nnls(scaled / size, np.ones(len(watts)))[0] / size
    error = np.abs(scaled @ found - 1)
    return Power(
        idle_w=digits(idle),
        busy_w=digits(float(found[0])),
        bf16_flop_j=digits(float(found[1])),
        fp8_flop_j=digits(float(found[2])),
        byte_j=digits(float(found[3])),
        rows=len(watts),
        median=round(float(np.median(error)), 4),
        worst=round(float(error.max()), 4),
    )
