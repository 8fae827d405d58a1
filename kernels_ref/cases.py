"""What `bench` times: a module that has kernels to time holds a list `CASES` of these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """Ready inputs: `launch(i)` issues the work over buffer set i of `sets` (and may take a configuration).

    `bytes` are the fewest that device memory must move (each input read once, each output written once), `flops` the
    arithmetic without padding, `peak` the dtype whose matrix-product rate limits it. `peers` are other implementations
    of the same work.
    """

    launch: Callable[..., object]
    sets: int
    bytes: int
    flops: int
    peers: Mapping[str, Callable[[int], object]] = field(default_factory=dict)
    peak: str = "bfloat16"


@dataclass(frozen=True)
class Case:
    """A kernel's name, a shape for the table's columns, and what builds it on the GPU. `quick`: part of --quick."""

    kernel: str
    shape: Mapping[str, int | float | str]
    build: Callable[[], Work]
    quick: bool = False
