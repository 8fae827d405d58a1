"""One step as the executor runs it, with what its cache's lanes take beside its kernels."""

from collections.abc import Sequence

from kvsim.cost.executed.batch import Batch
from kvsim.cost.op import Num
from kvsim.cost.pricer import Pricer
from kvsim.traits.layout import Ints


def step_s(
    pricer: Pricer, batch: Batch, rows: Sequence[Num] | Ints, chunk: Sequence[Num] | None, slow: float = 1.0
) -> tuple[float, float]:
    """(step, GPU) seconds where `pricer.executed` knows the kernels; arguments as of `Pricer.price`.

    Each sequence's part of a unit of a cache that is fetched is a copy of its own.
    """
    assert pricer.executed is not None
    gpu_s, decodes = pricer.executed.seconds(batch), len(batch.kept)
    whole_s = float(pricer.overlapped(gpu_s, decodes, rows, chunk, slow)[0])
    if not pricer.streams:
        return whole_s, gpu_s
    copies = decodes + sum(past > 0 for _, past in batch.chunks)
    fetched, _ = pricer.link_bytes(decodes, rows, chunk, 1)
    fetch_s = max(float(stream.seconds(copies, fetched, 0)) for stream in pricer.streams)
    return max(whole_s, fetch_s, pricer.executed.short_of_buffers(batch, gpu_s, fetch_s)), gpu_s
