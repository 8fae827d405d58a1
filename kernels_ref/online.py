"""Device functions of the online softmax: attention over a stream of key blocks without keeping the scores.

State per query row: `m`, the largest score so far; `total`, the sum of exp2(score - m); `acc`, the weighted values.
Scores are in base 2 (multiplied by log2 e beforehand), because the hardware's exponential is exp2.
Source: Milakov and Gimelshein, arXiv 1805.02867; Dao et al., FlashAttention, arXiv 2205.14135, algorithm 1.
"""

import triton
import triton.language as tl

LOG2E = 1.4426950408889634  # multiply scale by it on the host: softmax(x) = exp2(x log2 e - ...)


@triton.jit
def start(ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """The state before any key: `m` [ROWS] of -inf, `total` [ROWS] and `acc` [ROWS, WIDTH] of zeros, float32."""
    m = tl.full([ROWS], float("-inf"), tl.float32)
    return m, tl.zeros([ROWS], tl.float32), tl.zeros([ROWS, WIDTH], tl.float32)


@triton.jit
def update(scores, m, total, scale=1.0):
    """Takes `scores` [ROWS, KEYS] (-inf where masked; `scale` > 0 times them is in base 2) into `m` and `total`.

    Returns `p` [ROWS, KEYS] (weights of this block), `shrink` [ROWS] (what older sums are multiplied by), `m`, `total`.
    A row that has seen only masked keys keeps m = -inf, p = 0 and no NaN. A `scale` given here costs no instruction of
    its own per score; `m` is then to be multiplied by it before `finish`.
    """
    m_new = tl.maximum(m, tl.max(scores, 1))
    safe = tl.where(m_new == float("-inf"), 0.0, m_new) * scale
    p = tl.exp2(scores * scale - safe[:, None])
    shrink = tl.exp2(m * scale - safe)
    return p, shrink, m_new, total * shrink + tl.sum(p, 1)


@triton.jit
def finish(m, total, acc):
    """Normalised output [ROWS, WIDTH] and base-2 log-sum-exp [ROWS]; rows without a key give 0 and -inf."""
    seen = total > 0.0
    out = acc * tl.where(seen, 1.0 / tl.where(seen, total, 1.0), 0.0)[:, None]
    return out, tl.where(seen, m + tl.log2(tl.where(seen, total, 1.0)), float("-inf"))


@triton.jit
def widen(x, COMPUTE: tl.constexpr, NATIVE: tl.constexpr):
    """`x` in the dtype the tensor cores multiply. For values in fp8 the compiler would first fetch single bytes in the
    layout of the second operand; opaque assembly (NATIVE: not in the interpreter) makes it convert whole words, row by
    row, and transpose 16-bit numbers in hardware: three fifths of the loop's instructions."""
    if NATIVE and x.dtype == tl.float8e4nv:
        return tl.inline_asm_elementwise(
            "{ .reg .b16 a, b; mov.b32 {a, b}, $2; cvt.rn.f16x2.e4m3x2 $0, a; cvt.rn.f16x2.e4m3x2 $1, b; }",
            "=r,=r,r",
            [x],
            dtype=tl.float16,
            is_pure=False,
            pack=4,
        )
    return x.to(COMPUTE)
