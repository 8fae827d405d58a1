"""Caches on their way over a network: encoded smaller, decoded on arrival, by levels that fit the bandwidth."""

from collections.abc import Sequence
from dataclasses import dataclass

from kvsim.cost.op import GPU


@dataclass(frozen=True)
class Transit:
    """How a cache travels between tiers. It rests and is attended to as the policy's other parts say.

    Attributes:
        bits: of an element in transit, tables and metadata included; several levels, the best quality first.
        lane: where it is decoded: the chip's cores (gpu) or its codec.
        elements_per_s: decoded on the cores; a codec's rate is its own.
        chunk_tokens: encoded together; one chunk is decoded while the next arrives.
    """

    bits: tuple[float, ...]
    lane: str = GPU
    elements_per_s: float = float("inf")
    chunk_tokens: int = 256


@dataclass(frozen=True)
class Delivery:
    """How a context's chunks came: the level of each (`text`: recomputed), and when the last was usable."""

    levels: tuple[str, ...]
    seconds: float
    wire_bytes: float


def deliver(
    chunk_elements: float,
    bits: Sequence[float],
    text_bytes: float,
    recompute_s: Sequence[float],
    decode_s: float,
    bandwidths: Sequence[float],
    deadline_s: float,
) -> Delivery:
    """CacheGen's streamer: before each chunk, the best level with which the rest arrives in time, or text if none does.

    Args:
        chunk_elements, text_bytes: of one chunk. bits: of an element at each level, the best quality first.
        recompute_s: of each chunk from text, behind the chunks before it. decode_s: of one encoded chunk.
        bandwidths: bytes/s while each chunk travels. deadline_s: for the whole context.

    Chunks follow each other on the wire; a chunk is decoded, or its text recomputed, while the next one travels.
    """
    now_s = ready_s = wire = 0.0
    chosen = []
    for index, rate in enumerate(bandwidths):
        left = len(bandwidths) - index
        fits = (level for level, bit in enumerate(bits) if now_s + left * chunk_elements * bit / 8 / rate <= deadline_s)
        level = next(fits, None)
        if level is None:  # the rest as text, if recomputing all of it is faster than the smallest level
            smallest = max(left * chunk_elements * bits[-1] / 8 / rate, decode_s)
            recomputed = left * text_bytes / rate + sum(recompute_s[index:])
            text = recomputed < smallest
        else:
            text = False
        moved = text_bytes if text else chunk_elements * bits[len(bits) - 1 if level is None else level] / 8
        now_s += moved / rate
        wire += moved
        ready_s = max(now_s, ready_s) + (recompute_s[index] if text else decode_s)
        chosen.append("text" if text else str(len(bits) - 1 if level is None else level))
    return Delivery(tuple(chosen), ready_s, wire)
