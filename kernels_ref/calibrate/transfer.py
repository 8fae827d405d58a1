"""Copies that PyTorch has no call for: piece by piece, strided, and by a kernel that reads pinned memory in place."""

import ctypes
from collections.abc import Callable
from functools import cache

import torch
import triton
import triton.language as tl

from kernels_ref.calibrate.point import Unable

KIND = {"h2d": 1, "d2h": 2}  # cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost
WORDS = 1024  # 32-bit words that a program of the kernel moves at once


@cache
def runtime() -> ctypes.CDLL:
    """The CUDA runtime that PyTorch has loaded. Raises Unable where it is not found."""
    name = f"libcudart.so.{(torch.version.cuda or '0').partition('.')[0]}"
    try:
        return ctypes.CDLL(name)
    except OSError:
        raise Unable(f"{name} is not found, so copies in pieces are not measured") from None


def _done(status: int) -> None:
    if status:
        raise RuntimeError(f"the CUDA runtime refused a copy with error {status}")


def copier(to: torch.Tensor, source: torch.Tensor, lane: str) -> Callable[[int, int, int], None]:
    """copy(to_offset, from_offset, bytes) by cudaMemcpyAsync on the current stream."""
    call, kind = runtime().cudaMemcpyAsync, KIND[lane]
    target, origin = to.data_ptr(), source.data_ptr()

    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def copy(to_offset: int, from_offset: int, size: int) -> None:
        a, b = ctypes.c_void_p(target + to_offset), ctypes.c_void_p(origin + from_offset)
        _done(call(a, b, ctypes.c_size_t(size), kind, stream))

    return copy


def strided(
    device: torch.Tensor, device_pitch: int, host: torch.Tensor, host_pitch: int, width: int, rows: int, lane: str
) -> Callable[[], None]:
    """A launch of cudaMemcpy2DAsync: `rows` rows of `width` bytes, pitches in bytes."""
    call, size = runtime().cudaMemcpy2DAsync, ctypes.c_size_t
    ends = [
        (ctypes.c_void_p(device.data_ptr()), size(device_pitch)),
        (ctypes.c_void_p(host.data_ptr()), size(host_pitch)),
    ]
    (to, to_pitch), (source, from_pitch) = ends if lane == "h2d" else ends[::-1]

    def launch() -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _done(call(to, to_pitch, source, from_pitch, size(width), size(rows), KIND[lane], stream))

    return launch


@triton.jit
def gather_kernel(to, source, table, PIECE: tl.constexpr, WORDS: tl.constexpr, SCATTER: tl.constexpr):
    """Piece `table[i]` of `source` to piece i of `to`, or (SCATTER) piece i to piece `table[i]`; PIECE words each."""
    i = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * WORDS + tl.arange(0, WORDS)
    other = tl.load(table + i).to(tl.int64)
    from_ = i if SCATTER else other
    into = other if SCATTER else i
    words = tl.load(source + from_ * PIECE + at, mask=at < PIECE)
    tl.store(to + into * PIECE + at, words, mask=at < PIECE)


def gather(
    to: torch.Tensor, source: torch.Tensor, table: torch.Tensor, piece_bytes: int, lane: str
) -> Callable[[], object]:
    """A launch of the kernel over all pieces; one of `to` and `source` is pinned host memory, used where it is."""
    piece = piece_bytes // 4
    words = min(WORDS, triton.next_power_of_2(piece))
    grid = (len(table), triton.cdiv(piece, words))
    a, b = to.view(torch.int32), source.view(torch.int32)
    return lambda: gather_kernel[grid](a, b, table, piece, words, lane == "d2h", num_warps=4)
