"""Seconds of an all-reduce over the chips of a replica: the fastest of a library's protocols."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape
from kvsim.specs.hardware import Link


@dataclass(frozen=True)
class AllReduceCurve:
    """NCCL's LL, LL128 and Simple protocols around a ring or a tree: each quicker to carry bytes and slower to start.

    A fourth way, where switches can add up: each chip sends its sum once and receives it once.

    Attributes:
        launch_s: of the kernel.
        hop_s: of one step from chip to chip with the first protocol; 2 (gpus - 1) of them.
        start_s: what the second and the third protocol take longer to start.
        link_share: of the link's bandwidth that each of the three reaches.
        pair_share: the third's between two chips; 0: as among more.
        switch_start_s, switch_share: the same of sums in the switch; a share of 0 where there are none.
        switch_gpus: the least GPUs for which NCCL takes it.
    """

    launch_s: float
    hop_s: float
    start_s_1: float
    start_s_2: float
    link_share_0: float
    link_share_1: float
    link_share_2: float
    pair_share: float = 0.0
    switch_start_s: float = 0.0
    switch_share: float = 0.0
    switch_gpus: int = 8

    def seconds(self, link: Link, shape: Shape) -> Floats:
        """Seconds to sum `bytes` over `gpus` chips."""
        latency, carried = self._fastest(link, shape)
        return latency + carried

    def parts(self, link: Link, shape: Shape) -> dict[str, Floats]:
        """Latency, and what the link carries."""
        return dict(zip(("latency", "peer link"), self._fastest(link, shape), strict=True))

    def _fastest(self, link: Link, shape: Shape) -> tuple[Floats, Floats]:
        hops = 2 * (np.asarray(shape["gpus"], np.float64) - 1)
        size_s = np.asarray(shape["bytes"] / link.bandwidth)
        moved = size_s * hops / shape["gpus"]
        starts = np.array([0.0, self.start_s_1, self.start_s_2, self.switch_start_s])
        third = np.where(hops > 2, self.link_share_2, self.pair_share or self.link_share_2)
        ways = [moved / share for share in (self.link_share_0, self.link_share_1, third)]
        sums = size_s / self.switch_share if self.switch_share else np.full_like(moved, np.inf)
        ways.append(np.where(np.asarray(shape["gpus"]) >= self.switch_gpus, sums, np.inf))
        carried = np.stack(np.broadcast_arrays(*ways), axis=-1)
        best = np.argmin(starts + carried, axis=-1, keepdims=True)
        latency = self.launch_s + self.hop_s * hops + starts[best[..., 0]]
        return latency, np.take_along_axis(carried, best, -1)[..., 0]
