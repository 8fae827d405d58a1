"""Seconds of vLLM's all-reduce over the chips of a replica: the fastest of the kernels that it allows at a size.

A kernel of its own for small messages, in which each chip reads its peers' memory: all of every peer's in one pass, or
its share of the sum and then the others' shares in two. Above, torch's symmetric memory, with a copy in and out, then
NCCL. Limits, in bytes, as vllm/distributed/device_communicators and csrc/custom_all_reduce.cuh have them for Hopper.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, figures
from kvsim.specs.hardware import Link

KIB, MIB = 1024.0, 1024.0**2
PAIR, FOUR, MORE = 0, 1, 2
ONE_PASS = np.array([8 * MIB, 512 * KIB, 256 * KIB])  # the least that two, four and more chips no longer take it for
TWO_PASSES = np.array([0.0, 8 * MIB, 256 * KIB])
SYMMETRIC = np.array([64 * MIB, 32 * MIB, 64 * MIB])  # the most
SWITCH_GPUS = 8  # from which NCCL adds up in the switch


@dataclass(frozen=True)
class CustomAllReduceCurve:
    """What is carried waits for its start.

    Attributes:
        launch_s: of the kernel with its barrier; peer_s: of each peer in it.
        one_share: of the link's bandwidth that a chip reads its peers at; two_start_s, two_share: of two passes.
        pair_start_s, pair_share: of symmetric memory between two chips, with its copies; sum_start_s, sum_share: of
            more, whose sums are made in the switch.
        ring_start_s, ring_share: of NCCL's ring; switch_start_s, switch_share: of its sums in the switch.
    """

    launch_s: float
    peer_s: float
    one_share: float
    two_start_s: float
    two_share: float
    pair_start_s: float
    pair_share: float
    sum_start_s: float
    sum_share: float
    ring_start_s: float
    ring_share: float
    switch_start_s: float
    switch_share: float

    def seconds(self, link: Link, shape: Shape) -> Floats:
        """Seconds to sum `bytes` over `gpus` chips."""
        latency, carried = self._fastest(link, shape)
        return latency + carried

    def parts(self, link: Link, shape: Shape) -> dict[str, Floats]:
        """Latency, and what the link carries."""
        return dict(zip(("latency", "peer link"), self._fastest(link, shape), strict=True))

    def _fastest(self, link: Link, shape: Shape) -> tuple[Floats, Floats]:
        size, gpus = figures(shape, "bytes", "gpus")
        kind = np.select([gpus <= 2, gpus <= 4], [PAIR, FOUR], MORE)
        size_s = size / link.bandwidth
        moved, pair = size_s * 2 * (gpus - 1) / gpus, kind == PAIR
        one, two, symmetric = size < ONE_PASS[kind], size < TWO_PASSES[kind], size <= SYMMETRIC[kind]
        ways = (
            (0.0, size_s * (gpus - 1) / self.one_share, one),
            (self.two_start_s, moved / self.two_share, two),
            (self.pair_start_s, size_s / self.pair_share, pair & symmetric),
            (self.sum_start_s, size_s / self.sum_share, ~pair & symmetric),
            (self.ring_start_s, moved / self.ring_share, True),
            (self.switch_start_s, size_s / self.switch_share, gpus >= SWITCH_GPUS),
        )
        carried = np.stack([np.where(allowed, took, np.inf) for _, took, allowed in ways], axis=-1)
        starts = np.array([start for start, _, _ in ways])
        best = np.argmin(starts + carried, axis=-1)
        latency = self.launch_s + self.peer_s * (gpus - 1) + starts[best]
        return latency, np.take_along_axis(carried, best[..., None], -1)[..., 0]
