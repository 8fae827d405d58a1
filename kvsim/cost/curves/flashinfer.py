"""Seconds of FlashInfer's paged attention: query tokens of a kv head's whole group packed into tiles, keys split.

Of FlashInfer's FA2 template and its planner (include/flashinfer/attention/scheduler.cuh and utils.cuh, Apache-2.0):
rows of a tile by the packed length of a sequence's queries, and the shortest chunks of keys with which the tiles of the
batch still fit the SMs' slots. vLLM takes the same kernels for decodes, which are prompts of one token.
"""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.curves import Floats, Shape, bodies
from kvsim.specs.hardware import DTYPE_BYTES, Chip

TILES = (16, 64, 128)  # rows: the smallest that holds all packed queries of a sequence, else the largest
SLOTS = 2  # CTAs of an SM
PAGE, LEAST_PAGES = 64, 2  # tokens of a page of the cache; pages of the shortest chunk of keys, 128 tokens
KEYS = 64  # of a block that a CTA loads at once
ELEMENT_BYTES = 2  # of queries and outputs


@dataclass(frozen=True)
class FlashInferCurve:
    """Prompts (batch, new, past) or decodes (batch, context) over a paged cache.

    Attributes:
        launch_s, launch_s_64, launch_s_128: a kernel's ramp and drain, by the rows of its tile.
        cta_s: of one CTA, beside its keys; an SM runs its CTAs in turn.
        block_s, wide_block_s: of one block of keys in a CTA, by latency: of the smallest tile, whose warps share the
            keys, and of the others, whose warps share the queries.
        tensor_share: of the tensor cores' peak.
        memory_share: of HBM bandwidth.
        load_bytes_per_clock: keys and values that one SM takes in and converts.
        exposed: share of the shorter of compute, loads and HBM traffic that the longest does not hide.
        tail: share of the longest tile that the others do not hide.
        merge_s: of the second kernel, which adds up chunks of keys.
        state_s: of a partial result of a query in it, on an SM.
        kv_passes: times that keys and values cross HBM.
        l2_bytes_per_clock: what one SM takes in where all operands rest in L2, as they do in some benchmarks.
    """

    launch_s: float
    launch_s_64: float
    launch_s_128: float
    cta_s: float
    block_s: float
    wide_block_s: float
    tensor_share: float
    memory_share: float
    load_bytes_per_clock: float
    exposed: float
    tail: float
    merge_s: float
    state_s: float
    kv_passes: float
    l2_bytes_per_clock: float

    def seconds(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> Floats:
        """Seconds of one layer. Shape: batch, new and past or context, heads, kv_heads, head_dim, cache dtype."""
        latency, compute, loads, memory, serial = self._work(chip, shape, hot)
        return latency + bodies([bodies([compute, loads, memory], self.exposed), serial], self.tail)

    def parts(self, chip: Chip, shape: Shape, hot: Floats | float = 0.0) -> dict[str, Floats]:
        """Latency (the longest tile's, too), FLOPs, loads of the SMs, HBM bandwidth."""
        latency, compute, loads, memory, serial = self._work(chip, shape, hot)
        return {"latency": latency + serial, "bf16 FLOPs": compute, "SM loads": loads, "HBM bandwidth": memory}

    def _work(self, chip: Chip, shape: Shape, hot: Floats | float) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Latency, compute, loads, HBM traffic, the longest tile alone."""
        if "context" in shape:
            new, past = np.ones(()), np.asarray(shape["context"], np.float64) - 1
        else:
            new, past = (np.asarray(shape[name], np.float64) for name in ("new", "past"))
        batch, heads, kv_heads = (np.asarray(shape[name], np.float64) for name in ("batch", "heads", "kv_heads"))
        dim, sms = np.asarray(shape["head_dim"], np.float64), chip.multiprocessors
        packed = new * heads / kv_heads
        rows = tile_rows(packed)
        tiles = np.ceil(packed / rows)
        parts = chunks(batch * tiles, past + new, SLOTS * sms, kv_heads)
        keys = past + np.minimum(new, new * (1 + 1 / tiles) / 2)  # that a mean tile sees: causal
        blocks = np.ceil(keys / parts / KEYS)
        ctas = batch * kv_heads * tiles * parts
        peak = chip.peak.of("bf16") * self.tensor_share
        compute = ctas * blocks * (rows * KEYS * 4 * dim / peak)
        row_bytes = 2 * dim * DTYPE_BYTES[shape["dtype"]]
        sm_bytes_per_s = self.load_bytes_per_clock * chip.clock
        loads = np.ceil(ctas / sms) * np.minimum(keys, blocks * KEYS) * row_bytes / sm_bytes_per_s
        block_s = np.where(rows == TILES[0], self.block_s, self.wide_block_s)
        serial = (
            np.ceil((past + new) / parts / KEYS)
            * block_s
            * np.where(rows == TILES[0], np.ceil(ctas / (SLOTS * sms)), 1)
        )
        moved = batch * ((past + new) * kv_heads * row_bytes * self.kv_passes + new * heads * (2 * ELEMENT_BYTES * dim))
        memory = moved * (1 - hot) / (self.memory_share * chip.memory.bandwidth)
        memory = memory + moved * hot / (self.l2_bytes_per_clock * chip.clock * sms)
        states = batch * new * heads * parts
        merge = self.merge_s + states * (self.state_s / sms)
        start = np.where(
            rows == TILES[0], self.launch_s, np.where(rows == TILES[1], self.launch_s_64, self.launch_s_128)
        )
        latency = start + self.cta_s * np.maximum(1, ctas / sms) + np.where(parts > 1, merge, 0)
        return latency, compute, loads, memory, serial


def tile_rows(packed: Floats) -> Floats:
    """Rows of a tile, by the query rows of a sequence that share a kv head."""
    found: Floats = np.where(packed > TILES[1], TILES[2], np.where(packed > TILES[0], TILES[1], TILES[0]))
    return found


def chunks(tiles: Floats, context: Floats, slots: int, kv_heads: Floats) -> Floats:
    """Chunks of each sequence's keys: the shortest with which all `tiles` of a batch, for all kv heads, fit `slots`."""
    most = np.maximum(np.floor(slots / kv_heads) // tiles, 1)
    pages = np.ceil(context / PAGE)
    each = np.maximum(np.ceil(pages / most), LEAST_PAGES)
    found: Floats = np.ceil(pages / each)
    return found
