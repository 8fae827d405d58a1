"""Passes between the large kernels of a layer, as PyTorch launches them, and what follows the head."""

from collections.abc import Callable
from functools import cache, partial

import torch
from torch.nn import functional

from kernels_ref.calibrate import fused
from kernels_ref.calibrate.point import Point, Work
from kernels_ref.calibrate.rig import Rig

COLUMNS = ("kernel", "tokens", "width", "dtype", "launches", "l2")
EXTRA = ("bytes",)  # that must cross HBM: inputs once, results once
BUDGET_S = 13.0

TOKENS = (1, 8, 32, 128, 256, 1024, 4096, 16384)
WIDTHS = {
    "rms_norm": (4096, 8192), "add": (4096, 8192), "copy": (4096, 28672), "silu_mul": (14336, 28672),
    "rotary": (5120,), "cache_write": (1024, 4096), "embedding": (4096, 8192),
}  # fmt: skip
LAUNCHES = {"silu_mul": 2, "rotary": 5, "softmax_sample": 4}
VOCABULARY, SEQUENCES = 128256, (1, 8, 32, 128, 256)
CACHE_TOKENS = 65536


def points(rig: Rig, fine: bool) -> list[Point]:
    """Each pass at the widths of 8B and 70B models; choosing a token over a vocabulary of 128,256.

    Twice where its operands fit L2: cold, and (hot) over one set of buffers, as where the kernel before has just
    written them.
    """
    shapes = [
        (kernel, tokens, width)
        for kernel, widths in WIDTHS.items()
        for width in (widths if fine else widths[:1] if kernel in ("copy", "cache_write") else widths)
        for tokens in TOKENS
    ]
    if fused.exist():
        shapes += [(kernel, n, width) for kernel, widths in fused.WIDTHS.items() for width in widths for n in TOKENS]
    shapes += [(kernel, n, VOCABULARY) for kernel in ("argmax", "softmax_sample") for n in SEQUENCES]
    hot = [shape for shape in shapes if 6 * shape[1] * shape[2] <= rig.l2_bytes]
    return [_point(*shape, "cold") for shape in shapes] + [_point(*shape, "hot") for shape in hot]


def _point(kernel: str, tokens: int, width: int, l2: str) -> Point:
    cells = {"kernel": kernel, "tokens": tokens, "width": width, "dtype": "bf16"}
    return Point(cells | {"launches": LAUNCHES.get(kernel, 1), "l2": l2}, partial(build, kernel, tokens, width, l2))


def build(kernel: str, tokens: int, width: int, l2: str, rig: Rig) -> Work:
    """Buffers rotate beyond L2, or (hot) are one set."""
    size = 4 * tokens * width
    launches, moved = [], 0.0
    for _ in range(rig.sets(size) if l2 == "cold" else 1):
        launch, moved = PASSES[kernel](rig, tokens, width)
        launches.append(launch)
    return Work(lambda i: launches[i](), len(launches), extra={"bytes": moved})


Pass = tuple[Callable[[], object], float]


def _rms_norm(rig: Rig, tokens: int, width: int) -> Pass:
    x, weight = rig.random("bf16", tokens, width), rig.random("bf16", width)
    return lambda: functional.rms_norm(x, (width,), weight), 4.0 * tokens * width


def _add(rig: Rig, tokens: int, width: int) -> Pass:
    x, y, out = rig.random("bf16", tokens, width), rig.random("bf16", tokens, width), rig.empty("bf16", tokens, width)
    return lambda: torch.add(x, y, out=out), 6.0 * tokens * width


def _copy(rig: Rig, tokens: int, width: int) -> Pass:
    x, out = rig.random("bf16", tokens, width), rig.empty("bf16", tokens, width)
    return lambda: out.copy_(x), 4.0 * tokens * width


def _silu_mul(rig: Rig, tokens: int, width: int) -> Pass:
    both = rig.random("bf16", tokens, 2 * width)
    return lambda: functional.silu(both[:, :width]) * both[:, width:], 6.0 * tokens * width


def _rotary(rig: Rig, tokens: int, width: int) -> Pass:
    x = rig.random("bf16", tokens, width // 128, 128)
    cos, sin = (rig.random("bf16", tokens, 1, 128) for _ in "cs")

    def launch() -> object:
        turned = torch.cat((-x[..., 64:], x[..., :64]), -1)
        return x * cos + turned * sin

    return launch, 4.0 * tokens * width + 512.0 * tokens


@cache
def _cache(device: str, width: int) -> torch.Tensor:
    """A cache larger than L2, written to at random."""
    return torch.empty(CACHE_TOKENS, width, dtype=torch.bfloat16, device=device)


def _cache_write(rig: Rig, tokens: int, width: int) -> Pass:
    x, cache = rig.random("bf16", tokens, width), _cache(rig.device, width)
    slots = torch.randperm(CACHE_TOKENS, device=rig.device)[:tokens]
    return lambda: cache.index_copy_(0, slots, x), 4.0 * tokens * width


def _embedding(rig: Rig, tokens: int, width: int) -> Pass:
    ids, table = torch.randint(VOCABULARY, (tokens,), device=rig.device), rig.random("bf16", VOCABULARY, width)
    return lambda: functional.embedding(ids, table), 4.0 * tokens * width


def _argmax(rig: Rig, tokens: int, width: int) -> Pass:
    x = rig.random("bf16", tokens, width)
    return lambda: x.argmax(-1), 2.0 * tokens * width


def _softmax_sample(rig: Rig, tokens: int, width: int) -> Pass:
    x = rig.random("bf16", tokens, width)

    def launch() -> object:
        shares = torch.softmax(x, -1, dtype=torch.float32)
        return shares.div_(torch.empty_like(shares).exponential_()).argmax(-1)

    return launch, 2.0 * tokens * width


PASSES: dict[str, Callable[[Rig, int, int], Pass]] = {
    "rms_norm": _rms_norm,
    "add": _add,
    "copy": _copy,
    "silu_mul": _silu_mul,
    "rotary": _rotary,
    "cache_write": _cache_write,
    "embedding": _embedding,
    "argmax": _argmax,
    "softmax_sample": _softmax_sample,
    **fused.PASSES,
}
