"""Seconds of kernels that move a cache's rows without attending to them: quantize-and-pack, compaction."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, figures
from kvsim.cost.curves.packed import packed_bytes
from kvsim.cost.curves.passes import PassCurve
from kvsim.specs.hardware import Chip


@dataclass(frozen=True)
class PackCurve:
    """Quantize-and-pack of whole blocks of 128 tokens (kernels_ref/quantize.py): a warp for 32 channels of a block.

    A warp takes its groups one after another, each for a chain of minima, maxima, divisions and shifts.

    Attributes:
        launch_s: the kernel's ramp and drain.
        program_s: of one warp's groups, which few blocks do not shorten.
        load_bytes_per_clock: rows in and codes out that one SM moves.
        memory_share: of HBM bandwidth.
    """

    launch_s: float
    program_s: float
    load_bytes_per_clock: float
    memory_share: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of the keys and values of one layer. Shape: batch, tokens, kv_heads, head_dim, bits."""
        parts = self.parts(chip, shape)
        latency = parts.pop("latency")
        found: Floats = latency + np.maximum.reduce(list(parts.values()))
        return found

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, one warp's groups, SM loads, HBM bandwidth."""
        batch, tokens, kv_heads, dim, bits = figures(shape, "batch", "tokens", "kv_heads", "head_dim", "bits")
        elements = batch * tokens * kv_heads * dim
        moved = 4 * elements + packed_bytes(elements, bits)
        return {
            "latency": np.full_like(moved, self.launch_s),
            "groups in turn": np.full_like(moved, self.program_s),
            "SM loads": moved / (self.load_bytes_per_clock * chip.clock * chip.multiprocessors),
            "HBM bandwidth": moved / (self.memory_share * chip.memory.bandwidth),
        }


@dataclass(frozen=True)
class CompactionCurve(PassCurve):
    """Kept tokens copied into a smaller cache (kernels_ref/compact.py): every kept byte is read and written once.

    Attributes:
        launch_s: the kernel's ramp and drain.
        memory_share: of HBM bandwidth.
    """

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, HBM bandwidth, of one layer's keys or its values. Shape: batch, kept, kv_heads, head_dim."""
        rows = np.asarray(shape["batch"] * shape["kept"] * shape["kv_heads"], np.float64)
        moved = rows * (4.0 * shape["head_dim"] + 4)  # in and out at 16 bits, and the list of what is kept
        return super().parts(chip, {"launches": 1.0, "bytes": moved})
