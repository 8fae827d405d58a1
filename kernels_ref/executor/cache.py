"""What every executed policy's cache has in common: it follows the engine's batch, and says where new rows go."""

from collections.abc import Callable
from collections.abc import Sequence as Several

import numpy as np
import torch

from kernels_ref.executor.batch import Batch, Chunk, Held, Int32s
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.flash import Runs, attend, starts
from kernels_ref.executor.texts import Texts
from kvsim.engine.executor import Step
from kvsim.engine.sequence import Sequence


class Cache:
    """Bookkeeping on the host and attention on the device; subclasses say how rows are kept.

    A row is a token's keys and values in one layer. Pages hold `page` tokens. `place` numbers a sequence's own rows:
    all that was seen, unless a policy drops some.
    """

    follows_chunks = False  # whether `after` does anything
    graphed = True  # whether steps that only decode can be captured

    def __init__(self, decoder: Decoder, page: int, widths: Several[int]) -> None:
        self.decoder, self.shape, self.page = decoder, decoder.shape, page
        self.device, self.fused = decoder.device, decoder.fused
        self._widths = sorted(widths)
        self.held: dict[int, Held] = {}
        self.away: dict[int, Held] = {}
        self.batch = Batch(0, 0, 0, [], [], {})

    # -- the engine's batch -------------------------------------------------------------------------------------------

    def follow(self, step: Step) -> None:
        """Let go of what left the batch and make room for what entered it."""
        for seq in step.left:
            held = self.held.pop(seq.index)
            held.runs = self._runs(seq)
            if seq.swapped:
                self.away[seq.index] = held
                self.swap_out(held)
            else:
                self.free(held)
        for seq in step.entered:
            if seq.index in self.away:
                held = self.held[seq.index] = self.away.pop(seq.index)
                self.swap_in(held)
            else:
                held = self.held[seq.index] = Held(seq.index, seq.tokens, seq.computed, runs=list(seq.held.items()))
                self.admit(held)

    def _runs(self, seq: Sequence) -> list[tuple[int, int]]:
        """Names of its blocks: the trace's runs, then its own."""
        return [*(seq.named or ()), (-seq.index - 1, 1 << 30)]

    def prepare(self, step: Step, texts: Texts, padded: int | None = None) -> Batch:
        """The step's work, with rows allocated. `padded`: rows of a graph that runs it; None runs it as it is."""
        self.batch = batch = Batch(len(step.decoding), padded or len(step.decoding), 0, [], [], {})
        self.follow(step)
        ids, positions, places = [], [], []
        batch.order = self.decoding(step)
        for seq in (step.decoding[i] for i in batch.order):
            held, context = self.held[seq.index], step.context(seq)
            if held.seen != context - 1:
                raise RuntimeError(f"request {seq.index} has {held.seen} tokens cached before its {context}th")
            self.grow(held, context)
            ids.append(texts.of(seq.index)[context - 1])
            positions.append(context - 1)
            places.append(self.slot(held, context - 1))
            held.seen = context
            batch.held.append(held)
        empty = batch.padded - batch.decodes
        ids += [0] * empty
        positions += [0] * empty
        places += [-1] * empty
        for seq in step.chunks:
            held, end = self.held[seq.index], seq.computed + seq.chunk
            past = held.seen
            if not seq.computed - self.page <= past <= seq.computed:
                raise RuntimeError(f"request {seq.index} has {past} tokens cached, the engine says {seq.computed}")
            self.grow(held, end)
            batch.chunks.append(Chunk(held, end - past, past, len(ids), end >= seq.tokens))
            held.runs = self._runs(seq)
            ids += texts.of(seq.index)[past:end]
            positions += range(past, end)
            places += self.chunk_slots(held, past, end).tolist()
            held.seen = end
        for name, values in (("ids", ids), ("positions", positions), ("slots", places)):
            batch.fields[name] = np.array(values, np.int32)
        self.fill(batch)
        return batch

    def blank(self, padded: int, width: int, variant: int) -> Batch:
        """A batch of nothing, in the shape of a graph: what is run before and while it is captured."""
        self.batch = batch = Batch(0, padded, width, [], [], {}, variant=variant)
        for name, value in (("ids", 0), ("positions", 0), ("slots", -1)):
            batch.fields[name] = np.full(padded, value, np.int32)
        self.fill(batch)
        return batch

    def fill(self, batch: Batch) -> None:
        """Add the fields that attention goes by."""
        lengths = np.zeros(batch.padded, np.int32)
        for row, held in enumerate(batch.held):
            lengths[row] = self.kept(held, held.seen)
        batch.fields["lengths"] = lengths
        if batch.chunks:
            batch.fields["new starts"] = np.array(starts([_new(c) for c in batch.chunks]), np.int32)
            batch.fields["all starts"] = np.array(starts([_whole(c) for c in batch.chunks]), np.int32)
        batch.width = batch.width or self.width(int(lengths.max(initial=0)))
        batch.fields["table"] = table = np.zeros((batch.padded, batch.width), np.int32)
        for row, held in enumerate(batch.held):
            pages = held.pages[: batch.width]
            table[row, : len(pages)] = pages

    def width(self, tokens: int) -> int:
        """Pages a row of the table, so that few graphs serve all lengths."""
        pages = -(-tokens // self.page)
        return next((width for width in self._widths if width >= pages), -(-pages // 8) * 8)

    # -- what policies differ in --------------------------------------------------------------------------------------

    def kept(self, held: Held, seen: int) -> int:
        """Rows that rest once `seen` tokens have passed."""
        return seen

    def slot(self, held: Held, token: int) -> int:
        """Where a decoded token's row goes: page * PAGE + offset."""
        return held.pages[token // self.page] * self.page + token % self.page

    def chunk_slots(self, held: Held, past: int, end: int) -> Int32s:
        """The same of prompt tokens past .. end - 1; -1 for those whose row is not stored as it is computed."""
        token = np.arange(past, end)
        return (np.array(held.pages, np.int32)[token // self.page] * self.page + token % self.page).astype(np.int32)

    def admit(self, held: Held) -> None:
        """Take what its `seen` tokens found in the prefix cache."""
        raise NotImplementedError

    def grow(self, held: Held, seen: int) -> None:
        """Allocate for the rows of `seen` tokens."""
        raise NotImplementedError

    def adopt(self, request: int, prompt: int, seen: int) -> None:
        """Hold a sequence as if its prompt and what it generated since had been run; its rows are what lay there."""
        held = self.held[request] = Held(request, prompt)
        self.grow(held, seen)
        held.seen = seen

    def clear(self) -> None:
        """Let go of all sequences, unnamed."""
        for held in self.held.values():
            held.runs = []
            self.free(held)
        self.held.clear()

    def randomize(self) -> None:
        """Fill what is stored with random rows: zeros would be read faster than data."""

    def free(self, held: Held) -> None:
        """Let go of all of it; `held.runs` names what others may find."""
        raise NotImplementedError

    def swap_out(self, held: Held) -> None:
        """Move it to host memory, before the step's work."""
        raise NotImplementedError

    def swap_in(self, held: Held) -> None:
        """Move it back."""
        raise NotImplementedError

    def held_bytes(self, held: Held) -> int:
        """Bytes set aside for a sequence, over all layers of this chip."""
        raise NotImplementedError

    def decoding(self, step: Step) -> list[int]:
        """Which of the step's decoding sequences each row of the batch is."""
        return list(range(len(step.decoding)))

    def know(self, cached: Callable[[int], int]) -> None:
        """How many blocks of a run the engine's prefix cache still has."""

    def done(self, batch: Batch) -> None:
        """The step was run: on the host, what can only happen now."""

    # -- attention ----------------------------------------------------------------------------------------------------

    def attend(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Rotate and store the rows of one layer, and attend: [tokens, heads * dim]."""
        shape, batch = self.shape, self.batch
        q = self.rotate(layer, qkv)
        at = shape.heads * shape.dim
        middle = at + shape.kv_heads * shape.dim
        parts = []
        if batch.padded:
            parts.append(self.decode(layer, q[: batch.padded], qkv[: batch.padded]))
        if batch.chunks:
            k, v = (
                rows.unflatten(1, (shape.kv_heads, shape.dim))
                for rows in (qkv[batch.padded :, at:middle], qkv[batch.padded :, middle:])
            )
            parts.append(self.read(layer, q[batch.padded :], k, v))
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).flatten(1)

    def rotate(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Queries [tokens, heads, dim]; keys and values to their slots."""
        raise NotImplementedError

    def decode(self, layer: int, q: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        """Attention of decoded tokens [padded, heads, dim] over their sequences' rows."""
        raise NotImplementedError

    def past(self, layer: int, chunk: Chunk, k: torch.Tensor, v: torch.Tensor) -> None:
        """The rows before a chunk at 16 bits, into the first `chunk.past` of `k`, `v` [.., kv_heads, dim]."""
        raise NotImplementedError

    def read(self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention of all chunks' rows over their past and themselves."""
        batch = self.batch
        if batch.new_runs is None:
            self.begin_chunks()
            assert batch.new_runs
        if batch.all_runs is None:
            out = attend(q, k, v, batch.new_runs)[0]
            whole = (k, v)
        else:
            whole = self.joined(layer, k, v)
            out = attend(q, *whole, batch.all_runs)[0]
        for i, chunk in enumerate(batch.chunks if self.follows_chunks else ()):
            at = slice(*(batch.all_runs or batch.new_runs).keys[i : i + 2])
            mine = slice(*batch.new_runs.queries[i : i + 2])
            self.after(layer, chunk, q[mine], whole[0][at], whole[1][at])
        return out

    def begin_chunks(self) -> None:
        """Where the rows of chunks lie, once for all layers."""
        batch = self.batch
        new, whole = (starts([count(c) for c in batch.chunks]) for count in (_new, _whole))
        on_device = batch.on_device
        batch.new_runs = Runs(new, new, (on_device["new starts"], on_device["new starts"]))
        if whole != new:
            batch.all_runs = Runs(new, whole, (on_device["new starts"], on_device["all starts"]))

    def joined(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all chunks, each its past and its new rows: [keys, kv_heads, dim]."""
        batch, at = self.batch, 0
        assert batch.all_runs and batch.new_runs
        whole = [torch.empty(batch.all_runs.keys[-1], *k.shape[1:], dtype=k.dtype, device=k.device) for _ in "kv"]
        for i, chunk in enumerate(batch.chunks):
            mine = slice(*batch.new_runs.queries[i : i + 2])
            if chunk.past:
                self.past(layer, chunk, whole[0][at:], whole[1][at:])
            for rows, new in zip(whole, (k, v), strict=True):
                rows[at + chunk.past : at + chunk.past + chunk.new] = new[mine]
            at += chunk.past + chunk.new
        return whole[0], whole[1]

    def after(self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """What a policy does when a chunk was read: `q` its queries, `k` and `v` all keys and values up to its end."""


def _new(chunk: Chunk) -> int:
    return chunk.new


def _whole(chunk: Chunk) -> int:
    return chunk.past + chunk.new
