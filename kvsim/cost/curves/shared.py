"""Seconds of decodes that share a prefix (kernels_ref/prefix.py): its keys are read once for all, suffixes each."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, figures
from kvsim.cost.curves.paged import chosen
from kvsim.specs.hardware import Chip

ROWS, FEW_ROWS = 128, 64  # queries of a tile; what this package's kernel has for few of them
KEYS = 64  # of a block of that kernel, one CTA an SM
SHORTEST, MOST_PIECES = 512, 16  # keys of a piece that the library gets, and pieces


@dataclass(frozen=True)
class SharedPrefixCurve:
    """The prefix in one piece. Up to 128 queries a kv head go to this package's kernel, beside which the suffixes run;
    more to the library's attention, whose CTAs leave the suffixes no room.

    Attributes:
        launch_s: of prefix, suffixes and merge by this package's kernels.
        tall_s: what a tile of 128 queries takes longer to start than one of 64.
        library_s: what the library's way takes longer: a copy of the queries, more launches in a row.
        block_s: of one block of keys for a tile of 128 queries of this package's kernel.
        tensor_share: of the tensor cores' peak that the library's attention reaches.
        memory_share: of HBM bandwidth, which partial results cross too.
        suffix_share: of HBM bandwidth, of suffixes behind the library's attention.
    """

    launch_s: float
    tall_s: float
    library_s: float
    block_s: float
    tensor_share: float
    memory_share: float
    suffix_share: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, prefix, suffix, heads, kv_heads, head_dim."""
        latency, products, memory, suffixes = self._work(chip, shape)
        return latency + np.maximum(products, memory) + suffixes

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency, products of the prefix, HBM traffic, suffixes that nothing hides."""
        names = ("latency", "bf16 FLOPs", "HBM bandwidth", "suffixes")
        return dict(zip(names, self._work(chip, shape), strict=True))

    def _work(self, chip: Chip, shape: Shape) -> tuple[Floats, Floats, Floats, Floats]:
        batch, prefix, suffix, heads, kv_heads, dim = figures(
            shape, "batch", "prefix", "suffix", "heads", "kv_heads", "head_dim"
        )
        queries, row_bytes = batch * heads / kv_heads, 4.0 * kv_heads * dim
        library = queries > ROWS
        flops = 4 * kv_heads * np.ceil(queries / ROWS) * ROWS * prefix * dim
        splits, each = chosen(kv_heads, np.ceil(prefix / KEYS), chip.multiprocessors, np.ones(kv_heads.shape))
        own = np.where(queries > FEW_ROWS, each * self.block_s, 0)
        products = np.where(library, flops / (self.tensor_share * chip.peak.bf16), own)
        bytes_per_s = self.memory_share * chip.memory.bandwidth
        memory = (prefix + np.where(library, 0, batch * suffix)) * row_bytes / bytes_per_s
        ctas = kv_heads * np.ceil(queries / ROWS)
        # partial results, written and read: of splits in float32, of the library's pieces at 16 bits, of the suffixes
        left = np.where(library, 4.0 * pieces(ctas, prefix, chip.multiprocessors), 8.0 * splits) + 8.0
        merged = batch * heads * (dim + 1) * left / bytes_per_s
        suffixes = library * batch * suffix * row_bytes / (self.suffix_share * chip.memory.bandwidth)
        started = self.launch_s + np.where(library, self.library_s, np.where(queries > FEW_ROWS, self.tall_s, 0))
        return started + merged, products, memory, suffixes


def pieces(ctas: Floats, tokens: Floats, sms: int) -> Floats:
    """Into how many pieces of the prefix the library's attention is given it, as `kernels_ref.library.pieces_for`."""
    found = np.ones_like(tokens)
    while True:
        more = (2 * found * ctas <= sms) & (tokens >= 2 * SHORTEST * found) & (found < MOST_PIECES)
        if not more.any():
            return found
        found = np.where(more, 2 * found, found)
