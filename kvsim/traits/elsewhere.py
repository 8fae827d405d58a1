"""Attention beside the chip: inside a drive, or on the host's processors. Queries travel, the cache does not."""

from dataclasses import dataclass
from typing import Any

from kvsim.cost.devices.cpu import table_bytes
from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import ACTIVATION_BYTES, copy
from kvsim.cost.op import CPU, CSD, D2H, GPU, H2D, Num, Op
from kvsim.traits.placement import DRAM, HBM, Ints, Placement, Resting, stream_ops


@dataclass(frozen=True)
class InStorage(Placement):
    """The cache rests in a computational drive, whose engine attends to it: q down, one output row up, a layer.

    New keys and values stream to the drive while the chip computes on. A prefill chunk fetches its past.

    Attributes:
        channels: share of the key channels that are read of every token, to choose; 0 for dense attention.
        tokens: share of the tokens whose keys and values are read. waste: pages read a page that was wanted.
    """

    channels: float = 0.0
    tokens: float = 1.0
    waste: float = 1.0
    home = "flash"

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """All of it in the drive; a layer's new rows pass through HBM."""
        return {HBM: 0 * held.total, "flash": held.total}

    def units(self, geo: Geometry) -> int:
        """Layers."""
        return geo.model.layers

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """A decode step fetches nothing of the cache."""
        return 0 * stored

    def on_chip(self, kind: LayerKind, geo: Geometry) -> tuple[float, float]:
        """The chip attends to nothing."""
        return 0.0, 0.0

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """New rows to the drive, a chunk's past from it."""
        return stream_ops(self.home, geo.model.layers, 0, fetched, returned, every_step=False)

    def read_share(self, geo: Geometry) -> float:
        """Bytes of flash read over bytes stored."""
        keys = geo.key_dim / (geo.key_dim + geo.value_dim)
        return min(self.channels * keys + self.tokens * self.waste, 1.0 + self.channels * keys)

    def beside_ops(self, geo: Geometry, kind: LayerKind, sequences: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Queries down, attention at the flash channels' rate, outputs up."""
        keys = geo.key_dim / (geo.key_dim + geo.value_dim)
        flops = tokens * (geo.decode_flops * geo.query_heads / sum(kind.heads) * (self.channels * keys + self.tokens))
        inside = Op(
            "attention_in_storage", "attention_decode", CSD, {"bf16": flops}, kv_bytes * self.read_share(geo),
            count=kind.layers,
        )  # fmt: skip
        return [
            copy("send_queries", D2H, sequences * query_row_bytes(geo), count=kind.layers),
            inside,
            copy("take_outputs", H2D, sequences * output_row_bytes(geo), count=kind.layers),
        ]


@dataclass(frozen=True)
class OnHost(Placement):
    """The cache rests in host DRAM with hash tables beside it; processors attend to the tokens that collide (MagicPIG).

    The chip keeps `dense_layers` whole layers, and of the others the `sinks` first and `local` newest tokens, which are
    always attended to.

    Attributes:
        bits, tables: SimHash bits of a table, and tables. sample: share of the tokens that a query head reads.
        numa_aware: whether each socket attends to the heads in its own memory. threads: 0 for one a core.
    """

    bits: int
    tables: int
    sample: float
    sinks: int
    local: int
    dense_layers: int
    numa_aware: bool = True
    threads: int = 0
    home = DRAM

    @property
    def window(self) -> int:
        """Tokens that are always attended to."""
        return self.sinks + self.local

    def _dense(self, geo: Geometry) -> int:
        return min(self.dense_layers, geo.model.layers)

    def own_bytes(self, tokens: Ints, geo: Geometry) -> Ints:
        """Tables of all but dense layers."""
        layers = geo.model.layers
        return tokens * (layers - self._dense(geo)) // layers * table_bytes(self.tables)

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """Dense layers in HBM, the others and their tables in DRAM."""
        away = self.moved(held.total, geo)
        return {HBM: held.total - away, DRAM: away + self.own_bytes(held.tokens, geo)}

    def units(self, geo: Geometry) -> int:
        """Layers."""
        return geo.model.layers

    def moved(self, whole: Any, geo: Geometry) -> Any:
        """What is not in dense layers."""
        return whole * (geo.model.layers - self._dense(geo)) // geo.model.layers

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """A decode step fetches nothing of the cache."""
        return 0 * stored

    def on_chip(self, kind: LayerKind, geo: Geometry) -> tuple[float, float]:
        """Dense layers, and windows of the others."""
        dense = self._dense(geo) / geo.model.layers
        return dense, (1 - dense) * self.window

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """New rows to the host, a chunk's past from it."""
        return stream_ops(DRAM, geo.model.layers, 0, fetched, returned, every_step=False)

    def beside_ops(self, geo: Geometry, kind: LayerKind, sequences: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Hash on the chip, queries and hashes down, probe and attend on the host, outputs and their weights up."""
        layers = round(kind.layers * (1 - self._dense(geo) / geo.model.layers))
        group = geo.query_heads / sum(kind.heads)
        ids = tokens * (group * self.tables / 2.0**self.bits)  # one bucket a table and query head
        sampled = min(1.0, group * self.sample)  # of a kv head's rows: its query heads choose apart
        flops = tokens * (geo.decode_flops * group * self.sample)
        with_all = {"numa_aware": self.numa_aware, "threads": self.threads}
        rows, buckets = {"row_bytes": ACTIVATION_BYTES * geo.key_dim} | with_all, {"row_bytes": 256.0} | with_all
        heads = geo.query_heads
        hashed = sequences * (2.0 * heads * geo.key_dim * self.bits * self.tables)
        return [
            Op("hash_queries", "gemm", GPU, {"bf16": hashed}, sequences * query_row_bytes(geo), count=layers),
            copy("send_queries", D2H, sequences * (query_row_bytes(geo) + 4.0 * heads * self.tables), 2, layers),
            Op("probe_tables", "attention_decode", CPU, {"fp32": ids}, ids * 4.0, 1, layers, shape=buckets),
            Op(
                "attention_on_host", "attention_decode", CPU, {"fp32": flops}, kv_bytes * sampled, 1, layers, shape=rows
            ),
            copy("take_outputs", H2D, sequences * (output_row_bytes(geo) + 4.0 * heads), 2, layers),
        ]


def query_row_bytes(geo: Geometry) -> float:
    """One token's queries in one layer."""
    return ACTIVATION_BYTES * geo.query_heads * geo.key_dim


def output_row_bytes(geo: Geometry) -> float:
    """One token's attention output in one layer."""
    return ACTIVATION_BYTES * geo.query_heads * geo.value_dim
