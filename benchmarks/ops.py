"""Milliseconds of the processor for `kvsim.op` on 10,000 random points, by class: python benchmarks/ops.py [HW]"""

import sys
import time
from collections.abc import Callable

import numpy as np

import kvsim

POINTS, REPEATS = 10_000, 5
hw = sys.argv[1] if len(sys.argv) > 1 else "h100"
draw = np.random.default_rng(0)
tokens, experts = draw.integers(1, 8192, POINTS), draw.integers(1, 128, POINTS)
wide, deep = draw.choice([4096, 6144, 14336, 28672], POINTS), draw.choice([2048, 4096, 8192], POINTS)
few, heads = draw.integers(1, 129, POINTS), {"heads": 32, "kv_heads": 8, "head_dim": 128}
ops: dict[str, Callable[[], object]] = {
    "gemm": lambda: kvsim.op("gemm", hw=hw, m=tokens, n=wide, k=deep),
    "grouped_gemm": lambda: kvsim.op(
        "grouped_gemm", hw=hw, rows=tokens, used=np.minimum(tokens, experts), n=4096, k=deep
    ),
    "attention_decode": lambda: kvsim.op("attention_decode", hw=hw, batch=few, context=tokens, **heads),
    "attention_prefill": lambda: kvsim.op("attention_prefill", hw=hw, batch=1, new=tokens, past=deep, **heads),
    "copy": lambda: kvsim.op("copy", hw=hw, bytes=tokens * 4096, lane="h2d"),
}
for name, op in ops.items():
    op()
    took = []
    for _ in range(REPEATS):
        begun = time.process_time()
        op()
        took.append(time.process_time() - begun)
    print(f"{name:<18}{1e3 * min(took):>8.1f} ms")
