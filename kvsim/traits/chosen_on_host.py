"""Chosen tokens on the host: the chip chooses, the host's processors attend to what was chosen (A2ATS)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import ACTIVATION_BYTES, copy
from kvsim.cost.op import CPU, D2H, H2D, Num, Op
from kvsim.traits.elsewhere import output_row_bytes, query_row_bytes
from kvsim.traits.placement import DRAM, HBM, Ints, Placement, Resting, stream_ops


@dataclass(frozen=True)
class ChosenOnHost(Placement):
    """Rows rest in host DRAM, the index in HBM. Queries and positions go down, outputs and their weights come up.

    Attributes:
        sinks, local: first and newest tokens that the chip holds too and attends to.
        numa_aware: each socket attends to the heads in its own memory.
    """

    sinks: int
    local: int
    numa_aware: bool = True
    home = DRAM

    @property
    def window(self) -> int:
        """Tokens that the chip holds too."""
        return self.sinks + self.local

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """Rows in DRAM; the index and the window in HBM."""
        one = 2 * (geo.key_dim + geo.value_dim)
        window = np.minimum(held.rows, self.window * one * geo.kv_heads * geo.model.layers)
        return {HBM: held.index + window, DRAM: held.rows}

    def units(self, geo: Geometry) -> int:
        """Layers."""
        return geo.model.layers

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """A decode step fetches nothing of the cache."""
        return 0 * stored

    def on_chip(self, kind: LayerKind, geo: Geometry) -> tuple[float, float]:
        """The window."""
        return 0.0, float(self.window)

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """New rows to the host, a chunk's past from it."""
        return stream_ops(DRAM, geo.model.layers, 0, fetched, returned, every_step=False)

    def beside_ops(self, geo: Geometry, kind: LayerKind, sequences: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Queries and chosen positions down, rows gathered and attended to on the host, outputs up."""
        flops = tokens * (geo.decode_flops * geo.query_heads / sum(kind.heads))
        rows = {"row_bytes": ACTIVATION_BYTES * geo.key_dim, "numa_aware": self.numa_aware}
        up = output_row_bytes(geo) + 4.0 * geo.query_heads
        return [
            copy("send_queries", D2H, sequences * query_row_bytes(geo) + tokens * 4.0, 2, kind.layers),
            Op(
                "attention_on_host", "attention_decode", CPU, {"fp32": flops}, kv_bytes, 1, kind.layers, shape=rows
            ),
            copy("take_outputs", H2D, sequences * up, 2, kind.layers),
        ]  # fmt: skip
