"""Chips, links and hosts, as `hardware/*.yaml` holds them."""

from pydantic import Field, field_validator

from kvsim.specs.load import Bytes, BytesPerS, Count, FlopsPerS, Hertz, Seconds, Spec, Watts

DTYPE_BYTES = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5, "fp32": 4.0}
LINKS = ("pcie", "nvlink", "cxl", "rdma", "tcp")


class Peaks(Spec):
    """Dense FLOP/s by operand type, tensor cores but for `fp32` (the plain cores that do element-wise work).

    `fp16_sums`: of fp16 products that are summed in fp16, where sums in fp32 run at less than the full rate.
    """

    bf16: FlopsPerS = Field(gt=0)
    fp32: FlopsPerS = Field(gt=0)
    fp16: FlopsPerS | None = Field(default=None, gt=0)
    fp8: FlopsPerS | None = Field(default=None, gt=0)
    int8: FlopsPerS | None = Field(default=None, gt=0)
    fp16_sums: FlopsPerS | None = Field(default=None, gt=0)

    def of(self, dtype: str) -> float:
        """FLOP/s of a GEMM whose operands are `dtype`: a chip without that unit converts to bf16 first."""
        peak = getattr(self, dtype, None)
        return float(peak if peak is not None else self.bf16)

    @property
    def slowed(self) -> float:
        """How many times as fast the tensor cores would be if sums in fp32 ran at the full rate."""
        return self.fp16_sums / (self.fp16 or self.bf16) if self.fp16_sums else 1.0


class Memory(Spec):
    """A memory: `capacity` is what the driver reports, `bandwidth` the datasheet's."""

    kind: str
    capacity: Bytes = Field(gt=0)
    bandwidth: BytesPerS = Field(gt=0)


class Fpga(Spec):
    """What an overlay makes of an FPGA, in the words of FlightLLM's artifact; clock and memory are the chip's.

    Attributes:
        regions: super logic regions that work alike, each with `regions_channels` of the memory's `channels`.
        matrix_macs, vector_macs: multiply-adds a cycle of a region for many tokens (tiles of `matrix_rows` tokens) and
            for one (tiles of `vector_rows` outputs). pass_lanes: elements a cycle of a region's element-wise unit.
        same_channel, cross_channel: shares of a channel's rate for loads from a region's own channels and others.
        balance: share of the time that regions work while any does. density: weights that N:M pruning leaves.
        start: of a product, before its lanes are busy.
    """

    regions: Count
    matrix_macs: Count
    matrix_rows: Count
    vector_macs: Count
    vector_rows: Count
    pass_lanes: Count
    channels: Count
    regions_channels: Count
    same_channel: float = Field(gt=0, le=1)
    cross_channel: float = Field(gt=0, le=1)
    balance: float = Field(gt=0, le=1)
    density: float = Field(gt=0, le=1)
    start: Seconds = Field(ge=0)


class Codec(Spec):
    """Fixed-function video decoders: `engines` of `rate` bytes/s each, a byte a luma sample."""

    engines: Count
    rate: BytesPerS = Field(gt=0)


class Flash(Spec):
    """What FlashAttention-2 makes of prompts on chips of a generation; read where a chip was not measured.

    `rows`: queries of a tile, head_dim 128, causal. `share`: of the tensor cores' peak: 50 to 73 % on an A100, says the
    abstract of arXiv 2307.08691; causal prompts of serving at its lower end.
    """

    rows: Count = 128
    share: float = Field(default=0.55, gt=0, le=1)


class Chip(Spec):
    """One accelerator. `sources` names where each figure comes from, by key."""

    name: str
    memory: Memory
    peak: Peaks
    multiprocessors: Count
    l2: Bytes = Field(gt=0)
    clock: Hertz = Field(gt=0)
    power: Watts = Field(gt=0)
    idle_power: Watts = Field(ge=0)
    fpga: Fpga | None = None
    codec: Codec | None = None
    flash: Flash = Field(default_factory=Flash)
    sources: dict[str, str] = Field(default_factory=dict)


class Link(Spec):
    """A link: bytes/s in one direction, after line coding; `latency` of one transfer; `max_chips` it can join."""

    name: str
    kind: str
    bandwidth: BytesPerS = Field(gt=0)
    latency: Seconds = Field(ge=0)
    max_chips: Count = 8
    sources: dict[str, str] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in LINKS:
            raise ValueError(f"must be {', '.join(LINKS[:-1])} or {LINKS[-1]}, but got {kind!r}")
        return kind


class Cpu(Spec):
    """The host's processors, all sockets together, as attention on them sees it.

    Attributes:
        sockets: NUMA nodes; a thread reads its own node's memory at full rate, another's at `remote_share` of it.
        flops: of fused multiply-adds in the widest vectors, all cores. flops_share: what kernels reach of it.
        core: bytes/s that one core draws from memory; fewer threads than it takes draw less than all of it.
        line: bytes that a gathered row is rounded up to, and how much prefetchers lose on short rows: `row_loss` bytes
            are fetched in vain for every row that does not follow the one before.
        dispatch: seconds to wake the threads and to gather them again.
    """

    sockets: Count
    cores: Count
    flops: FlopsPerS = Field(gt=0)
    flops_share: float = Field(gt=0, le=1)
    remote_share: float = Field(gt=0, le=1)
    core: BytesPerS = Field(gt=0)
    line: Bytes = Field(gt=0)
    row_loss: Bytes = Field(ge=0)
    dispatch: Seconds = Field(ge=0)


class Host(Spec):
    """The machine around the chips: its DRAM serves all of them."""

    name: str
    memory: Memory
    cpu: Cpu | None = None
    sources: dict[str, str] = Field(default_factory=dict)
