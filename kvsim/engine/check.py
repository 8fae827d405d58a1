"""The engine's invariants, verified after each span under `--check`, numbered as in docs/architecture.md."""

from kvsim.engine.replica import Replica, Span


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
    _hold(6, len({seq.index for seq in scheduler.waiting}) == len(scheduler.waiting), "a request waits twice")


def _hold(number: int, ok: bool, message: str) -> None:
    if not ok:
        raise RuntimeError(f"invariant {number}: {message}")
