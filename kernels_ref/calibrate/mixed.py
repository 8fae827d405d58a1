"""Decodes beside a prompt's chunk, as separate launches of the kernels that each would take alone."""

from kernels_ref.calibrate import attention_decode, attention_prefill
from kernels_ref.calibrate.point import Point, Work
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("batch", "context", "new", "past", "heads", "kv_heads", "head_dim", "dtype", "kernel")
BUDGET_S = 5.0

HEADS = ((32, 8, 128), (32, 32, 128))


def points(rig: Rig, fine: bool) -> list[Point]:
    """The executor's pair: this package's decode and FlashAttention-2 by rows."""
    found = []
    for heads in HEADS[: 2 if fine else 1]:
        for batch in (4, 16, 64, 128):
            for context in (512, 2048, 8192):
                for new, past in ((128, 0), (512, 4096), (2048, 0), (2048, 16384)):
                    shape = (batch, context, new, past, *heads)
                    cells = dict(
                        zip(COLUMNS, (*shape, "bf16", "kernels_ref decode, FlashAttention-2 varlen"), strict=True)
                    )
                    found.append(Point(cells, _builder(shape)))
    return found


def _builder(shape: tuple[int, ...]):
    return lambda rig: build(rig, *shape)


def build(rig: Rig, batch: int, context: int, new: int, past: int, *heads: int) -> Work:
    """Both in turn on one stream."""
    sets = rig.sets(4 * heads[1] * heads[2] * (batch * context + past + new))
    pairs = [
        (
            attention_decode.ours(rig, batch, context, *heads),
            attention_prefill.varlen(rig, 1, new, past, *heads),
        )
        for _ in range(sets)
    ]
    return Work(lambda i: [one() for one in pairs[i]], sets, heat=new >= 2048)
