"""One step's work on the device: what a sequence holds, the chunks it reads, and the integers that kernels go by."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kernels_ref.executor.flash import Runs

Int32s = NDArray[np.int32]
ALIGN = 16  # int32s: a field begins at 64 bytes, so that kernels may load whole words


@dataclass
class Held:
    """What a cache holds of a sequence: `seen` tokens have passed, their rows rest in `pages` (or an extent).

    `prompt`: what its prefill reads, after a preemption with what had been generated. `extra`: a policy's own.
    """

    request: int
    prompt: int
    seen: int = 0
    pages: list[int] = field(default_factory=list)
    runs: list[tuple[int, int]] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class Chunk:
    """`new` prompt tokens of a sequence on top of `past`, in rows from `first` on; `last`: its prompt is complete."""

    held: Held
    new: int
    past: int
    first: int
    last: bool


@dataclass
class Batch:
    """`decodes` sequences decode a token each, in rows 0 .. padded - 1; chunks' rows follow.

    `fields`: integers by name; `on_device`: the same, once they are there. `moves`: copies to do first. `width`: pages
    that a row of the table has. `order`: which of the step's decoding sequences each row is. `variant`: what tells the
    step's kernels from others' of the same size. `frozen`: captured in a graph of its own, as it is.
    """

    decodes: int
    padded: int
    width: int
    held: list[Held]
    chunks: list[Chunk]
    fields: dict[str, Int32s]
    moves: list[Callable[[], None]] = field(default_factory=list)
    on_device: dict[str, torch.Tensor] = field(default_factory=dict)
    new_runs: Runs | None = None
    all_runs: Runs | None = None
    order: list[int] = field(default_factory=list)
    variant: int = 0
    frozen: bool = False

    @property
    def tokens(self) -> int:
        """Rows through the layers."""
        return self.padded + sum(chunk.new for chunk in self.chunks)

    @property
    def emitting(self) -> list[int]:
        """Rows whose next token is wanted: every decode, and the last row of prompts that are complete."""
        ends = [chunk.first + chunk.new - 1 for chunk in self.chunks if chunk.last]
        return [*range(self.decodes), *ends]


class Staging:
    """The integers of a step in one pinned buffer and one on the device: a single copy, to fixed addresses."""

    def __init__(self, device: str, count: int) -> None:
        self.host = torch.zeros(count, dtype=torch.int32, pin_memory=device.startswith("cuda"))
        self.device = torch.zeros(count, dtype=torch.int32, device=device)
        self._numpy = self.host.numpy()

    def place(self, batch: Batch) -> int:
        """Write the batch's fields and point it at their places on the device; int32s to copy."""
        at = 0
        for name, values in batch.fields.items():
            if at + values.size > len(self._numpy):
                raise RuntimeError(f"a step needs more than the {len(self._numpy)} integers there is room for")
            self._numpy[at : at + values.size] = values.reshape(-1)
            batch.on_device[name] = self.device[at : at + values.size].view(values.shape)
            at += -(-values.size // ALIGN) * ALIGN
        return at

    def send(self, count: int) -> None:
        """Copy the first `count` integers to the device."""
        self.device[:count].copy_(self.host[:count], non_blocking=True)
