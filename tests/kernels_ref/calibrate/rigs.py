"""A rig on the CPU: a small pool, and a timer that launches once and invents the seconds."""

from dataclasses import dataclass, field

from kernels_ref.calibrate.point import Measured, Work
from kernels_ref.calibrate.rig import Pool, Rig


@dataclass
class FakeTimer:
    """Launches each buffer set once; what they returned is kept."""

    results: list[object] = field(default_factory=list)

    def time(self, work: Work) -> Measured:
        self.results = [work.launch(i) for i in range(work.sets)]
        return Measured(1e-3 * (1 + work.sets), 0.01, 1980.0, 500.0, dict(work.extra))


class FakeGauge:
    """No sensor."""

    def __getattr__(self, name):
        return lambda: 0.0


def rig(pool_bytes: int = 1 << 22) -> Rig:
    """Four multiprocessors, 1 kB of L2: two buffer sets a point."""
    pool = Pool({"bf16": pool_bytes, "fp8": pool_bytes}, "cpu")
    return Rig("cpu", 4, 1024, (9, 0), 1 << 30, pool, FakeTimer(), FakeGauge())
