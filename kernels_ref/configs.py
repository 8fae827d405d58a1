"""Which tile, warps and pipeline depth a decode kernel gets, by shape: one table, from `python -m kernels_ref.tune`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """`block_n` keys a step, `block_m` queries at most, and how many such CTAs one multiprocessor should be given.

    `registers`, if not 0, limits a thread's, so that more CTAs fit.
    """

    block_n: int
    warps: int
    stages: int
    ctas_per_sm: int = 2
    block_m: int = 16
    registers: int = 0


def pick(element_bytes: int, rows: int, tokens: int, kv_bytes: int) -> Config:
    """The decode configuration for `rows` rows of `tokens` keys, `kv_bytes` bytes in all (keys and values)."""
    if tokens <= 64:  # nothing to prefetch: many small CTAs
        return Config(32, 2, 2, 8)
    if tokens <= 512 and rows >= 256:  # short rows: CTAs overlap each other
        return Config(64, 4, 2, 4)
    if element_bytes == 1:
        return Config(32, 1, 4, 4) if kv_bytes < 1e8 else Config(64, 2, 3, 4)
    return Config(128, 8, 3, 1) if kv_bytes < 6e8 else Config(64, 4, 2, 4)


def pick_prefix(queries: int) -> Config:
    """The configuration of the shared-prefix part, where `queries` query rows share each kv head's keys."""
    return Config(64, 4, 3, 1, block_m=64) if queries <= 64 else Config(64, 8, 3, 1, block_m=128)


def pick_suffix(tokens: int) -> Config:
    """The configuration of suffixes of up to `tokens` tokens: CTAs small enough to live beside the prefix's."""
    return Config(32, 2, 2, 8) if tokens <= 64 else Config(64, 4, 2, 4)
