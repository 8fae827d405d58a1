"""Seconds of a step as `kernels_ref.executor` runs it: its own kernels, step by step, no sums over a batch.

A run's usual prices are affine in a batch's sums, and those of a policy are what a good kernel for it takes. Here the
kernels that the executor has are priced as they are: decode attention with the shares of keys that a padded table
gives it, FlashAttention-2 tile by tile, what each policy's cache adds, and the clock that a power limit leaves. The
`executor` preset sets `as_executed`, which any preset takes.

Figures in this package are of an H100 (`hardware/calibration/h100-sxm/kernels.csv.gz`, kernels of Llama-3-8B's steps by
torch's profiler, and `attention_prefill.csv`). Latencies hold for other chips in seconds, bytes scale with HBM.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvsim.cost.executed.step import Executed
    from kvsim.cost.overheads import Overheads
    from kvsim.cost.rates import Rates
    from kvsim.traits.layout import Layout


def executed(layout: "Layout", rates: "Rates", overheads: "Overheads") -> "Executed | None":
    """Prices of a layout's steps as the executor runs them; None where it does not, or nothing says that it should."""
    if not overheads.as_executed:
        return None
    from kvsim.cost.executed.step import Executed

    return Executed.of(layout, rates, overheads)
