"""The GPU at hand and what every class measures with: its properties, random data, a timer, a gauge."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from kernels_ref.calibrate.gauge import Gauge
from kernels_ref.calibrate.point import Unable
from kernels_ref.calibrate.timer import GraphTimer, Timer

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}
BEYOND_L2 = 3  # buffer sets of a point exceed L2 so many times
MOST_SETS = 256
ALIGNMENT = 1024


class Pool:
    """Random normal data in one piece; a point takes slices of it instead of drawing its own. Never written to."""

    def __init__(self, size: dict[str, int], device: str) -> None:
        self.device, self._at, self._bytes = device, dict.fromkeys(size, 0), {}
        for name, count in size.items():
            flat = torch.empty(count // DTYPES[name].itemsize, dtype=DTYPES[name], device=device)
            for piece in flat.split(1 << 28):
                piece.copy_(torch.randn(len(piece), dtype=torch.bfloat16, device=device))
            self._bytes[name] = flat.view(torch.uint8)

    def size(self, dtype: str) -> int:
        """Bytes there are of a type."""
        return len(self._bytes[dtype]) if dtype in self._bytes else 0

    def take(self, dtype: str, *shape: int) -> torch.Tensor:
        """The next slice, from the start again at the end. Raises Unable if the pool is too small."""
        count = math.prod(shape) * DTYPES[dtype].itemsize
        if count > self.size(dtype):
            raise Unable(f"needs {count / 1e9:.1f} GB of random {dtype}, there are {self.size(dtype) / 1e9:.1f}")
        at = self._at[dtype]
        if at + count > self.size(dtype):
            at = 0
        self._at[dtype] = -(-(at + count) // ALIGNMENT) * ALIGNMENT
        return self._bytes[dtype][at : at + count].view(DTYPES[dtype]).view(shape)


@dataclass(frozen=True)
class Rig:
    """What a point's `build` gets."""

    device: str
    sms: int
    l2_bytes: int
    capability: tuple[int, int]
    memory_bytes: int
    pool: Pool
    timer: Timer
    gauge: Any

    def sets(self, bytes_per_set: int) -> int:
        """Buffer sets that together exceed L2: 2 at least."""
        return max(2, min(MOST_SETS, -(-BEYOND_L2 * self.l2_bytes // max(1, bytes_per_set))))

    def random(self, dtype: str, *shape: int) -> torch.Tensor:
        """Random data that is not to be written to."""
        return self.pool.take(dtype, *shape)

    def empty(self, dtype: str, *shape: int) -> torch.Tensor:
        """Room for results."""
        return torch.empty(shape, dtype=DTYPES[dtype], device=self.device)

    def table(self, *shape: int) -> torch.Tensor:
        """A random permutation of 0 .. n - 1, int32."""
        return torch.randperm(math.prod(shape), device=self.device, dtype=torch.int32).view(shape)

    def full(self, value: int, *shape: int) -> torch.Tensor:
        """int32, all `value`."""
        return torch.full(shape, value, dtype=torch.int32, device=self.device)


def of_this_machine() -> Rig:
    """The rig of the current CUDA device. A quarter of its memory, 24 GB at most, holds random data."""
    chip = torch.cuda.get_device_properties(torch.cuda.current_device())
    room = torch.cuda.mem_get_info()[0]
    size = {"bf16": min(24_000_000_000, room // 4)}
    if (chip.major, chip.minor) >= (8, 9):
        size["fp8"] = size["bf16"] // 4
    gauge = Gauge()
    return Rig(
        device="cuda",
        sms=chip.multi_processor_count,
        l2_bytes=chip.L2_cache_size,
        capability=(chip.major, chip.minor),
        memory_bytes=chip.total_memory,
        pool=Pool({name: count // ALIGNMENT * ALIGNMENT for name, count in size.items()}, "cuda"),
        timer=GraphTimer(gauge),
        gauge=gauge,
    )
