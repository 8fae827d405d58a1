"""The executor's fused passes, for the class `elementwise`: add and norm, SiLU times up, rotary and cache write."""

import importlib
import importlib.util
from collections.abc import Callable

import torch

from kernels_ref.calibrate.rig import Rig

HOME = "kernels_ref.executor"
WIDTHS = {"add_norm": (4096, 8192), "fused_silu_mul": (14336, 28672), "rotary_write": (6144,)}
PAGE, DIM, POSITIONS = 16, 128, 16384

Pass = tuple[Callable[[], object], float]


def exist() -> bool:
    """Whether this version of the package has an executor."""
    return importlib.util.find_spec(HOME) is not None


def add_norm(rig: Rig, tokens: int, width: int) -> Pass:
    """Reads two rows, writes their sum and its norm."""
    passes = importlib.import_module(f"{HOME}.elementwise")
    x, weight = rig.random("bf16", tokens, width), rig.random("bf16", width)
    residual = rig.empty("bf16", tokens, width).copy_(x)
    return lambda: passes.add_norm(x, residual, weight, 1e-5, True), 8.0 * tokens * width


def fused_silu_mul(rig: Rig, tokens: int, width: int) -> Pass:
    """`width` columns of results from twice as many."""
    passes = importlib.import_module(f"{HOME}.elementwise")
    both = rig.random("bf16", tokens, 2 * width)
    return lambda: passes.silu_mul(both, True), 6.0 * tokens * width


def rotary_write(rig: Rig, tokens: int, width: int) -> Pass:
    """Rows of 32 query heads, 8 keys and 8 values: queries and keys turned, keys and values to their pages."""
    passes = importlib.import_module(f"{HOME}.elementwise")
    heads, kv_heads = width // DIM * 2 // 3, width // DIM // 6
    qkv = rig.empty("bf16", tokens, width).copy_(rig.random("bf16", tokens, width))
    turns = passes.rotations(10000.0, DIM, POSITIONS, rig.device)
    positions = torch.arange(tokens, dtype=torch.int32, device=rig.device) % POSITIONS
    count = max(1, -(-tokens // PAGE))
    pages = tuple(rig.empty("bf16", count, kv_heads, PAGE, DIM) for _ in "kv")
    slots = torch.randperm(count * PAGE, device=rig.device, dtype=torch.int32)[:tokens]

    def launch() -> object:
        return passes.rotary(qkv, turns, positions, heads, kv_heads, True, slots, pages)

    return launch, 2.0 * tokens * DIM * (2 * (heads + 2 * kv_heads) + kv_heads)


PASSES: dict[str, Callable[[Rig, int, int], Pass]] = {
    "add_norm": add_norm,
    "fused_silu_mul": fused_silu_mul,
    "rotary_write": rotary_write,
}
