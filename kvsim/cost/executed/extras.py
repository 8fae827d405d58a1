"""What each policy's cache adds to a layer of a step, as `kernels_ref/executor` does it.

Kernels of Torch and Triton that do little are latencies; large ones go by bytes, or by tiles of 64 x 128 scores.
Seconds of a layer. Figures: kernels.csv (Llama-3-8B, H100).
"""

from dataclasses import dataclass

from kvsim.cost.geometry import Geometry
from kvsim.specs.hardware import Chip

SMALL_S = 2.0e-6  # a kernel that does little, with its launch
COPY_SHARE = 0.37  # of HBM bandwidth: Torch's copies of rows with strides
FLOAT_SHARE = 0.63  # of HBM bandwidth: Torch's passes over float32
SCORE_TILES_PER_S = 0.95e6  # of 64 queries x 128 keys, on one SM that has several CTAs
SCORE_TILE_S = 1.385e-6  # of such a tile in a CTA alone on its SM
PACK_S = 9.0e-6  # a block of 128 tokens of every sequence that has one full
TOPK_S = 114e-6  # of a prompt's votes or sums: selection, sort, gathers and two dozen small kernels
TOPK_TOKEN_S = 8.3e-9  # of a prompt's token, with 8 kv heads
EVICT_S, EVICT_SLOT_S = 2.2e-6, 5.8e-9  # H2O's search for the least of a head's heavy hitters
SECOND_PASS_SHARE = 0.66  # of HBM bandwidth: H2O's pass over the keys for their weights


@dataclass(frozen=True)
class Extras:
    """Seconds beside attention, in one layer."""

    geo: Geometry
    chip: Chip

    def _moved(self, size: float, share: float) -> float:
        return size / (share * self.chip.memory.bandwidth)

    def row_bytes(self) -> float:
        """A token's keys, or values, of all heads at 16 bits."""
        return 2.0 * self.geo.kv_heads * self.geo.key_dim

    def output_bytes(self) -> float:
        """A token's attention output at 16 bits."""
        return 2.0 * self.geo.query_heads * self.geo.key_dim

    def joined(self, decodes: int, new: int) -> float:
        """Outputs of decodes and of chunks put behind each other."""
        return SMALL_S + self._moved(2 * (decodes + new) * self.output_bytes(), 0.9)

    def copies(self, tokens: int, many: int = 2) -> float:
        """`many` copies of rows of so many tokens."""
        return many * (SMALL_S + self._moved(2 * tokens * self.row_bytes(), COPY_SHARE))

    def merged(self, new: int) -> float:
        """Two attentions' outputs weighted and added in float32, by Torch: 54 bytes an element in all."""
        return 10 * SMALL_S + self._moved(54 * new * self.output_bytes() / 2, FLOAT_SHARE)

    def score_sums(self, new: int, past: int) -> float:
        """H2O's `column_sums` over all of a chunk's queries: log-sum-exps, then sums down the columns."""
        rows, keys = -(-(self.geo.query_heads // self.geo.kv_heads) * new // 64), -(-(past + new) // 128)
        tiles = self.geo.kv_heads * rows * (past + new / 2) / 128
        rate = SCORE_TILES_PER_S * self.chip.multiprocessors
        alone = self.geo.kv_heads * keys <= 2 * self.chip.multiprocessors
        columns_s = max(tiles / rate, rows * SCORE_TILE_S if alone else 0.0)
        return 10 * SMALL_S + tiles / rate + columns_s + self.copies(past + new, 1) + self._queries(new)

    def _queries(self, new: int) -> float:
        return SMALL_S + self._moved(2 * new * self.output_bytes(), COPY_SHARE)

    def chosen(self, prompt: int) -> float:
        """What stays of a prompt: the best by votes or sums, gathered and written to its first pages."""
        return TOPK_S + prompt * TOPK_TOKEN_S * self.geo.kv_heads / 8

    def second_pass(self, kept: int, slots: int) -> float:
        """H2O at decode: room made for a token among `slots` heavy hitters, then weights added to `kept` scores."""
        size = kept * (self.row_bytes() + 8.0 * self.geo.kv_heads)
        return EVICT_S + slots * EVICT_SLOT_S + SMALL_S + self._moved(size, SECOND_PASS_SHARE)
