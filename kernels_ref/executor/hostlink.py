"""What the link to the host carries from where a cache in host memory lies, on whichever sockets its pages are."""

from collections.abc import Sequence

import torch

PIECE_BYTES = 1 << 26
MOST_BYTES = 1 << 32
TIMES = 3


def h2d_bytes_per_s(host: Sequence[torch.Tensor], device: torch.device) -> float:
    """Bytes a second of copies of 64 MiB from all over these pinned tensors, nothing beside; the best of three rounds.

    0 without a GPU.
    """
    if device.type != "cuda":
        return 0.0
    flat = [one.view(-1).view(torch.uint8) for one in host]
    each = min(PIECE_BYTES, len(flat[0]))
    many = max(1, min(len(flat[0]), MOST_BYTES // len(flat)) // each)
    pieces = [one[start : start + each] for one in flat for start in range(0, many * each, each)]
    there = torch.empty(each, dtype=torch.uint8, device=device)
    best_s = float("inf")
    for _ in range(TIMES):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        marks[0].record()
        for piece in pieces:
            there.copy_(piece, non_blocking=True)
        marks[1].record()
        torch.cuda.synchronize()
        best_s = min(best_s, marks[0].elapsed_time(marks[1]) * 1e-3)
    return len(pieces) * each / best_s
