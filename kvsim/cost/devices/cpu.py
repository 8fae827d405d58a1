"""Attention on the host's processors over a cache in DRAM: gathers, threads, NUMA nodes; MagicPIG's hash tables."""

import math

from kvsim.cost.op import Num
from kvsim.specs.chips import Cpu

MEMORY_SHARE = 0.80  # of DRAM: streams of all cores (STREAM reaches 75-85 % of a socket's datasheet)


def gather_share(cpu: Cpu, row_bytes: Num) -> Num:
    """Useful bytes over fetched ones when rows of `row_bytes` lie apart: whole lines, and what prefetchers waste."""
    whole = -(-row_bytes // cpu.line) * cpu.line
    return row_bytes / (whole + cpu.row_loss)


def numa_share(cpu: Cpu, aware: bool) -> float:
    """Of all sockets' bandwidth, for threads that read their own node (`aware`) or any node alike.

    Of s nodes, 1 / s of a thread's reads are its own; the others come at `remote_share` of the rate.
    """
    own = 1 / cpu.sockets
    return 1.0 if aware else 1 / (own + (1 - own) / cpu.remote_share)


def threads_share(cpu: Cpu, memory_bytes_per_s: float, threads: int) -> float:
    """Of the memory's bandwidth that `threads` threads (0: one a core) draw."""
    drawn = min(threads or cpu.cores, cpu.cores) * cpu.core
    return min(1.0, drawn / (MEMORY_SHARE * memory_bytes_per_s))


def bytes_per_s(
    cpu: Cpu, memory_bytes_per_s: float, row_bytes: float | None, aware: bool = True, threads: int = 0
) -> float:
    """What attention reads of DRAM: one stream (row_bytes None) or rows gathered one by one."""
    gathered = float(gather_share(cpu, row_bytes)) if row_bytes else 1.0
    streamed = MEMORY_SHARE * memory_bytes_per_s * threads_share(cpu, memory_bytes_per_s, threads)
    return streamed * numa_share(cpu, aware) * gathered


def bucket_tokens(context: Num, bits: int) -> Num:
    """Mean tokens of a bucket when `bits` hash bits sort `context` tokens evenly."""
    return context / 2.0**bits


def collision(cosine: float, bits: int, tables: int, least: int = 2) -> float:
    """Chance that SimHash at angle acos(cosine) collides in at least `least` of `tables` tables (MagicPIG, section 4).

    One table collides with p = (1 - angle / pi) ^ bits.
    """
    p = (1 - math.acos(max(-1.0, min(1.0, cosine))) / math.pi) ** bits
    return 1.0 - sum(math.comb(tables, hits) * p**hits * (1 - p) ** (tables - hits) for hits in range(least))


def table_bytes(tables: int) -> int:
    """Bytes of the tables for one token and kv head: an int32 id and an int16 hash in each (Infini-AI-Lab/MagicPIG)."""
    return tables * 6
