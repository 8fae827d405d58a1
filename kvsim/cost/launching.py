"""Kernels that the host launches one by one, where a step is no CUDA graph: it takes no less than that."""

from kvsim.cost import cacheops
from kvsim.cost.dense import head_ops, layer_ops
from kvsim.cost.op import GPU, PEER
from kvsim.cost.overheads import Overheads, launches
from kvsim.traits.layout import Layout
from kvsim.traits.trait import Chunk


class Launching:
    """Counts by what a step holds. `captured`: tokens of the largest graph."""

    def __init__(self, layout: Layout, overheads: Overheads) -> None:
        geo, zero, rows = layout.geo, 0.0, [0.0] * len(layout.measures)
        dense = layer_ops(geo, 1, overheads) + head_ops(geo, 1, overheads)
        decode = [
            op
            for k, kind in enumerate(layout.kinds)
            for op in cacheops.decode_ops(layout, kind, layout.sums(k, zero, rows))  # type: ignore[arg-type]
        ]
        nothing = Chunk(zero, zero, zero)
        chunk = [
            op
            for kind in layout.kinds
            for _, part in layout.reading(kind)
            for op in cacheops.chunk_ops(layout, part, nothing)
        ]
        chunk += layout.policy.prefill.reading_ops(geo, nothing)
        always, with_decodes, with_chunks = (launches(ops, (GPU, PEER)) for ops in (dense, decode, chunk))
        self.captured, self._launch_s = overheads.largest_graph, overheads.launch_s
        self._kernels = {
            (large, decodes, chunks): overheads.launched(
                self.captured + large, chunks, always + with_decodes * decodes + with_chunks * chunks, geo.model.layers
            )
            for large in (False, True)
            for decodes in (False, True)
            for chunks in (False, True)
        }

    def kernels(self, tokens: int, decodes: bool, chunks: bool) -> float:
        """Kernels that are launched one by one in a step of `tokens` tokens."""
        return self._kernels[tokens > self.captured, decodes, chunks]

    def seconds(self, tokens: int, decodes: bool, chunks: bool) -> float:
        """What launching them takes."""
        return self._launch_s * self._kernels[tokens > self.captured, decodes, chunks]
