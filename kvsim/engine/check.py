"""The engine's invariants, verified after each span under `--check`, numbered as in docs/architecture.md."""

from typing import TYPE_CHECKING

from kvsim.engine.replica import Replica, Span

if TYPE_CHECKING:
    from kvsim.engine.tiers import Tiers

MANY = 2000  # runs in a tier that are counted at every step


def checker(replica: Replica, span: Span) -> None:
    """Verify one replica at the end of a span.

    Raises:
        RuntimeError: an invariant is broken: a defect of ours.
    """
    scheduler, memory = replica.scheduler, replica.scheduler.memory
    _hold(1, bool(span.ends[span.steps - 1] >= span.start_s), "the clock went back")
    _hold(1, all(later >= earlier for earlier, later in zip(span.ends, span.ends[1:], strict=False)), "steps overlap")
    hbm, home = memory.used()
    _hold(2, 0 <= hbm <= memory.capacity[0], f"{hbm} bytes in use of {memory.capacity[0]} in HBM")
    _hold(2, 0 <= home <= memory.capacity[1], f"{home} bytes in use of {memory.capacity[1]} in the home tier")
    if memory.cache:
        free = (memory.capacity[1] - home) // memory.block_bytes
        memory.settle()
        found = memory.cache.free_blocks
        _hold(3, found == free, f"{found} blocks are blank or idle, but {free} are free")
    batch = len(scheduler.running) + len(scheduler.prefilling)
    _hold(4, batch <= scheduler.serving.max_num_seqs, f"{batch} sequences run")
    fed = span.plan.decodes + sum(seq.chunk for seq in span.plan.chunks)
    whole = not scheduler.serving.chunked_prefill and len(span.plan.chunks) == 1
    _hold(4, whole or fed <= scheduler.serving.max_num_batched_tokens, f"a step of {fed} tokens")
    for seq in scheduler.running.values():
        _hold(5, seq.generated <= seq.target, f"request {seq.index} generated too much")
    if scheduler.tiers:
        check_tiers(scheduler.tiers, every=replica.counters.events % 64 == 0)
    _hold(6, len({seq.index for seq in scheduler.waiting}) == len(scheduler.waiting), "a request waits twice")


def check_tiers(tiers: "Tiers", every: bool) -> None:
    """Verify a replica's tiers below HBM; large ones only if `every`."""
    for level in tiers.levels:
        if every or len(level.copies) < MANY:
            wrong = level.copies.verify()
            _hold(7, not wrong, f"{level.spec.name}: {wrong}")
    for prefetch in set(tiers.coming.values()):
        assert prefetch.flow
        came = sum(max(0, tiers.levels[0].copies.readable(name) - have) for name, have, _ in prefetch.pieces)
        moved = tiers.network.moved(prefetch.flow)
        _hold(8, came * tiers.block_bytes <= moved + 1, f"{came} blocks can be read after {moved} bytes")
    carried = tiers.levels[0].out.way[-1][0].moved_bytes
    promoted = tiers.tallies[0].read * tiers.block_bytes
    _hold(8, promoted <= carried + 1, f"{promoted} bytes were promoted, but {carried} read")
    _hold(7, tiers.writes.buffered_bytes >= 0, "less than nothing waits to be written")


def _hold(number: int, ok: bool, message: str) -> None:
    if not ok:
        raise RuntimeError(f"invariant {number}: {message}")
