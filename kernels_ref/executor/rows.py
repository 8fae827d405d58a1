"""CSV files that are whole after every row, and where their numbers come from."""

import csv
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import triton

COLUMNS = (
    "model", "policy", "block", "phase", "decodes", "chunks", "tokens", "padded", "width_tokens", "graphed", "seconds",
    "noise", "alone_s", "wall_s", "first_s", "setup_s", "clock_mhz", "before_bytes", "peak_bytes", "kv_bytes",
    "kv_predicted_bytes", "weight_bytes", "h2d_bytes_per_s",
)  # fmt: skip


def origin(device: str) -> dict[str, str]:
    """The columns that say where a row comes from."""
    main = sys.modules["__main__"].__spec__
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]  # where a file went says nothing
    found = {"device": platform.machine(), "driver": "", "torch": torch.__version__, "triton": triton.__version__}
    if device.startswith("cuda"):
        from kernels_ref.timing import provenance

        try:
            found |= {key: value for key, value in provenance().items() if key in found}
        except Exception:  # nvidia-smi may be missing; the device is known all the same
            found["device"] = torch.cuda.get_device_name()
    return found | {"command": " ".join([f"python -m {main.name}" if main else "python", *words])}


class Csv:
    """Appends rows to a file that begins with its columns; each is flushed. `origin` is added to rows without one."""

    def __init__(self, path: Path, columns: Sequence[str], origin: Mapping[str, str]) -> None:
        self._file = path.open("w", newline="", encoding="utf-8")
        self._origin = origin
        self._writer = csv.DictWriter(self._file, [*columns, *origin], extrasaction="ignore")
        self._writer.writeheader()

    def __enter__(self) -> "Csv":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, row: Mapping[str, object]) -> None:
        """Write one row."""
        self._writer.writerow({**self._origin, **row})
        self._file.flush()
