"""Every request of a run as a Parquet file: one row each, in the trace's order, the same bytes for the same run."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from kvsim.engine.results import Columns

_TIMES = ("arrival_s", "scheduled_s", "first_token_s", "done_s")
_ORDER = (
    "arrival_s", "prompt_tokens", "output_tokens", "scheduled_s", "first_token_s", "done_s", "hit_tokens",
    "preemptions", "replica", "rejected",
)  # fmt: skip


def write_requests(columns: Columns, path: Path) -> None:
    """Write `columns`; times that never came are null, and so is the replica of a request that reached none."""
    arrays = {}
    for name in _ORDER:
        values = getattr(columns, name)
        missing = np.isnan(values) if name in _TIMES else values < 0 if name == "replica" else None
        arrays[name] = pa.array(values, mask=missing)
    parquet.write_table(pa.table(arrays), path, compression="zstd")
