"""StreamingLLM (arXiv:2309.17453): the first tokens and a ring of the newest ones.

Keys keep the rotation of the position at which they were read; the paper counts positions inside the cache, which
changes what is generated, not what a step computes.
"""

from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.executor.batch import Batch, Chunk, Held, Int32s
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import write_rows
from kernels_ref.executor.flash import Runs, attend, merged
from kernels_ref.executor.paged import Paged
from kernels_ref.executor.past import read_rows


class Streaming(Paged):
    """Place t of the first `sinks + window` tokens is t; later ones take turns in the ring."""

    shares = False

    def __init__(self, decoder: Decoder, page: int, pages: int, widths: Several[int], sinks: int, window: int) -> None:
        super().__init__(decoder, page, pages, widths)
        self.sinks, self.window = sinks, window

    def kept(self, held: Held, seen: int) -> int:
        """At most sinks and window."""
        return min(seen, self.sinks + self.window)

    def _slots(self, held: Held, tokens: Int32s) -> Int32s:
        """Page slots of tokens that are kept."""
        first = self.sinks
        place = np.where(tokens < first + self.window, tokens, first + (tokens - first) % self.window)
        return (np.array(held.pages, np.int32)[place // self.page] * self.page + place % self.page).astype(np.int32)

    def slot(self, held: Held, token: int) -> int:
        """In the ring, over the oldest."""
        return int(self._slots(held, np.array([token], np.int32))[0])

    def chunk_slots(self, held: Held, past: int, end: int) -> Int32s:
        """None yet: rows that a chunk overwrites are read by it first."""
        return np.full(end - past, -1, np.int32)

    def fill(self, batch: Batch) -> None:
        """Of each chunk: slots of the sinks and of the window before it, slots of its own rows, and row counts."""
        super().fill(batch)
        for chunk in batch.chunks:
            held, past, end, name = chunk.held, chunk.past, chunk.past + chunk.new, chunk.held.request
            batch.fields.pop(f"table {name}", None)
            token = np.arange(past, end, dtype=np.int32)
            later = np.where((token < self.sinks) | (token >= end - self.window), self._slots(held, token), -1)
            sinks, window = self._before(chunk)
            batch.fields[f"later {name}"] = later.astype(np.int32)
            batch.fields[f"sinks {name}"] = self._slots(held, sinks)
            batch.fields[f"window {name}"] = self._slots(held, window)
            first, rest = self._split(chunk)
            counts = (0, first, 0, len(sinks) + first, 0, rest, 0, len(window) + rest)
            batch.fields[f"counts {name}"] = np.array(counts, np.int32)

    def _before(self, chunk: Chunk) -> tuple[Int32s, Int32s]:
        """Tokens before a chunk that it sees: sinks, and those of the window."""
        past = chunk.past
        window = np.arange(max(self.sinks, past - self.window + 1), max(self.sinks, past), dtype=np.int32)
        return np.arange(min(past, self.sinks), dtype=np.int32), window

    def _split(self, chunk: Chunk) -> tuple[int, int]:
        """Rows of a chunk that are sinks, and the others."""
        first = min(chunk.new, max(0, self.sinks - chunk.past))
        return first, chunk.new - first

    def read(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Each query sees the sinks and the newest tokens: two attentions, merged."""
        batch, out = self.batch, []
        for chunk in batch.chunks:
            at = chunk.first - batch.padded
            rows = slice(at, at + chunk.new)
            out.append(self._read(layer, chunk, q[rows], k[rows], v[rows]))
            slots = batch.on_device[f"later {chunk.held.request}"]
            live = slots >= 0 if not self.fused else slice(None)
            write_rows(k[rows][live], v[rows][live], slots[live], self.pages_of(layer), self.fused)
        return out[0] if len(out) == 1 else torch.cat(out)

    def _read(self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        on_device, name = self.batch.on_device, chunk.held.request
        counts = on_device[f"counts {name}"]
        first, rest = self._split(chunk)
        sinks, window = (
            self._joined(layer, on_device[f"{part} {name}"], k[mine], v[mine])
            for part, mine in (("sinks", slice(0, first)), ("window", slice(first, None)))
        )
        parts = []
        if first:
            runs = Runs((0, first), (0, len(sinks[0])), (counts[0:2], counts[2:4]))
            parts.append(attend(q[:first], *sinks, runs)[0])
        if rest:
            near = Runs((0, rest), (0, len(window[0])), (counts[4:6], counts[6:8]))
            found = [attend(q[first:], *window, near, window=self.window)]
            if len(sinks[0]):
                far = Runs((0, rest), (0, len(sinks[0])), (counts[4:6], counts[2:4]))
                found.append(attend(q[first:], *sinks, far, causal=False))
            parts.append(merged(found) if len(found) > 1 else found[0][0])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _joined(
        self, layer: int, slots: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of `slots`, then the new ones."""
        count = len(slots)
        if not count:
            return k, v
        whole = [torch.empty(count + len(k), *k.shape[1:], dtype=k.dtype, device=k.device) for _ in "kv"]
        read_rows(self.pages_of(layer), slots, (whole[0], whole[1]), self.fused)
        for rows, new in zip(whole, (k, v), strict=True):
            rows[count:] = new
        return whole[0], whole[1]
