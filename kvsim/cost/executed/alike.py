"""One step of sequences alike, at full clock: what `kvsim step` shows of the executor's kernels."""

from kvsim.cost.executed.batch import Batch
from kvsim.cost.executed.whole import step_s
from kvsim.cost.overheads import Overheads
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Ints, Layout


def whole_s(
    layout: Layout,
    rates: Rates,
    overheads: Overheads,
    decodes: int,
    held: Ints | None,
    chunks: tuple[tuple[int, int], ...],
    complete: bool,
) -> float | None:
    """Seconds of a step with what its cache's lanes take beside; None where the executor does not run it.

    Args:
        held: the layout's rows, summed over `decodes` sequences. chunks: (new, past) tokens; `complete`: nothing of
            their prompts is left.
    """
    pricer = Pricer(layout, rates, overheads)
    if pricer.executed is None:
        return None
    rows = [] if held is None else held.tolist()
    kept = (rows[0] // (layout.geo.kv_heads * decodes),) * decodes if decodes else ()
    ends = tuple(new + past for new, past in chunks) if complete else ()
    features = [sum(each) for each in zip(*(pricer.chunk(*chunk) for chunk in chunks), strict=True)]
    return step_s(pricer, Batch(kept, chunks, ends), rows, features or None)[0]
