"""The Op: one kernel or transfer of a step, and how `count` identical ones (a layer each) occupy a lane."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

Num = float | int | NDArray[Any]  # one figure, or one a step

GPU, H2D, D2H, PEER = "gpu", "h2d", "d2h", "nvlink"
CSD, CPU, NIC = "csd", "cpu", "nic"


@dataclass(frozen=True, slots=True)
class Op:
    """`count` kernels of one shape. FLOPs, bytes and launches are of one kernel; fields may be arrays over steps.

    Builders of arrays may give as many counts; 0 says that the Op does not take place at that step.

    Attributes:
        kind: its class, by which the cost model finds rates (gemm, attention_decode, copy, ...).
        flops: FLOPs by unit: an operand type of the tensor cores, or "alu" for the plain cores.
        bytes: bytes that its lane's memory or link must carry.
        launches: launches of one kernel, or transfers of one copy.
        shape: what a fitted curve takes, "dtype" among it; of attention inside a step, its `queries` of all heads, the
            `keys` that the last of a chunk sees, whether it stands `beside_chunk` or `dequantizes`, and the kernel of
            its `own` that reads such a cache as (class of Ops, type).
    """

    name: str
    kind: str
    lane: str
    flops: Mapping[str, Num]
    bytes: Num
    launches: float = 1.0
    count: int = 1
    gpus: int = 1
    shape: Mapping[str, Any] = field(default_factory=dict)

    def times(self, factor: Any) -> "Op":
        """As often by a factor, or by one a step."""
        return replace(self, count=self.count * factor)
