"""What hangs on a machine beside its chips: drives, memory expanders, remote stores, switches. Datasheet figures."""

from typing import Any, Literal

from pydantic import Field, model_validator

from kvsim.specs.chips import Link, Memory
from kvsim.specs.load import Bytes, BytesPerS, Count, FlopsPerS, Iops, Seconds, Spec, Usd, Watts

SECTOR_BYTES = 4096.0  # what datasheets count random operations in


class Engine(Spec):
    """Attention inside a drive: flash `channels` of `channel` bytes/s each, read in whole `page`s, and FLOP/s.

    `memory` is the drive's own DRAM: what the engine gathers rows and keeps its index in.
    """

    channels: Count
    channel: BytesPerS = Field(gt=0)
    page: Bytes = Field(gt=0)
    flops: FlopsPerS = Field(gt=0)
    memory: Memory

    @property
    def internal_bytes_per_s(self) -> float:
        """All channels together."""
        return self.channels * self.channel


class Drive(Spec):
    """One NVMe drive. Random figures are of 4 KiB at `queue_depth` outstanding requests, latencies of one alone.

    Attributes:
        link: its port. endurance: host bytes that it may be written over its warranty.
        peer: whether it copies straight to a chip (peer to peer), without a bounce through host DRAM.
        engine: what computes inside it, if anything does.
    """

    name: str
    kind: Literal["nvme"] = "nvme"
    link: str | Link
    capacity: Bytes = Field(gt=0)
    read: BytesPerS = Field(gt=0)
    write: BytesPerS = Field(gt=0)
    random_read: Iops = Field(gt=0)
    random_write: Iops = Field(gt=0)
    read_latency: Seconds = Field(gt=0)
    write_latency: Seconds = Field(gt=0)
    queue_depth: Count
    endurance: Bytes = Field(gt=0)
    power: Watts = Field(gt=0)
    price: Usd = Field(ge=0)
    peer: bool = False
    engine: Engine | None = None
    sources: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Any:
        """Refuses a drive slower than its own latency, or faster than its queue allows (Little's law)."""
        alone = 1 / self.read_latency
        if self.random_read < alone:
            raise ValueError(
                f"random_read: {self.random_read:,.0f} IOPS is slower than the drive's own latency: one request at a"
                f" time, {self.read_latency * 1e6:g} us each, makes {alone:,.0f} IOPS; state at least that"
            )
        if self.read < SECTOR_BYTES * alone:
            raise ValueError(
                f"read: {self.read / 1e6:,.0f} MB/s is slower than the drive's own latency: 4 KiB every"
                f" {self.read_latency * 1e6:g} us make {SECTOR_BYTES * alone / 1e6:,.0f} MB/s; state at least that"
            )
        if self.random_read > self.queue_depth * alone * (1 + 1e-9):
            raise ValueError(
                f"random_read: {self.random_read:,.0f} IOPS cannot come from {self.queue_depth} requests of"
                f" {self.read_latency * 1e6:g} us each, which make {self.queue_depth * alone:,.0f}: state the"
                " queue_depth of the measurement, or a shorter read_latency"
            )
        return self


class Expander(Spec):
    """Memory behind a link of its own, such as CXL: `latency` is what a read takes longer than from local DRAM."""

    name: str
    kind: Literal["cxl"] = "cxl"
    link: str | Link
    memory: Memory
    latency: Seconds = Field(ge=0)
    price: Usd = Field(ge=0)
    sources: dict[str, str] = Field(default_factory=dict)


class Store(Spec):
    """A store of caches behind a network `link`; `latency` is of one request, protocol and server included."""

    name: str
    kind: Literal["remote"] = "remote"
    link: str | Link
    capacity: Bytes = Field(gt=0)
    read: BytesPerS = Field(gt=0)
    write: BytesPerS = Field(gt=0)
    latency: Seconds = Field(ge=0)
    peer: bool = False
    sources: dict[str, str] = Field(default_factory=dict)


class Switch(Spec):
    """Joins what names it to what it is attached `to`, over one `link` that all of them share."""

    link: str | Link
    to: str = "host"


class Attached(Spec):
    """`count` alike devices, striped, at node `to` (the host or a switch): one of drive, memory and store.

    `link` replaces the device's own port, `tier` the name of the tier that they make.
    """

    drive: str | Drive | None = None
    memory: str | Expander | None = None
    store: str | Store | None = None
    link: str | Link | None = None
    to: str = "host"
    count: Count = 1
    tier: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Any:
        given = [name for name in ("drive", "memory", "store") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a device is one of drive, memory and store, but got {' and '.join(given) or 'none'}")
        return self
