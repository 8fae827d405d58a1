"""KIVI (arXiv:2402.02750): packed pages of 128 tokens, and each sequence's youngest tokens at 16 bits in its own row.

Decoding sequences take the first rows, so that a step's batch is the first rows of every buffer. Keys and values are
packed together when a row is full.
"""

from collections.abc import Sequence as Several
from dataclasses import fields

import numpy as np
import torch

from kernels_ref import kivi_decode
from kernels_ref.executor.batch import Batch, Chunk, Held
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.elementwise import rotary
from kernels_ref.executor.inpages import InPages
from kernels_ref.executor.kivi_unpack import unpack_rows
from kernels_ref.executor.swap import come, leave
from kernels_ref.kivi_cache import Cache as KiviCache
from kernels_ref.kivi_cache import decode_reference
from kernels_ref.quantize import BLOCK, empty, pack, pack_reference
from kvsim.engine.executor import Step
from kvsim.errors import UserError


class Kivi(InPages):
    """`rows` sequences at most, `bits` a code, groups of `group`."""

    follows_chunks = True

    def __init__(
        self, decoder: Decoder, page: int, pages: int, widths: Several[int], rows: int, bits: int, group: int
    ) -> None:
        if page != BLOCK:
            raise UserError(f"executor torch packs kivi's pages of {BLOCK} tokens; set block_tokens={BLOCK}")
        super().__init__(decoder, page, pages, widths)
        shape = self.shape
        self.packed = [
            empty(pages, shape.kv_heads, shape.dim, bits, group, str(self.device)) for _ in range(shape.layers)
        ]
        self.rows = rows
        self.young = torch.zeros(
            (shape.layers, 2, rows, shape.kv_heads, BLOCK, shape.dim), dtype=shape.dtype, device=self.device
        )
        self.row_bytes = self.young.nbytes // rows
        self.page_bytes = sum(packed.nbytes for packed in self.packed) // pages
        self._free_rows: set[int] = set(range(rows))

    def stores(self) -> list[torch.Tensor]:
        """The packed tensors of each layer."""
        return [x for packed in self.packed for x in packed.tensors]

    def held_bytes(self, held: Held) -> int:
        """Packed pages, and the row of young tokens."""
        return super().held_bytes(held) + self.row_bytes

    def randomize(self) -> None:
        """Random codes, scales and young rows."""
        generator = torch.Generator(self.device).manual_seed(2)
        for packed in self.packed:
            for field, x in zip(fields(packed)[2:], packed.tensors, strict=True):
                if field.name.endswith("codes"):
                    x.random_(-(2**15), 2**15 - 1, generator=generator)
                else:
                    x.normal_(0.0, 0.3, generator=generator)
        self.young.normal_(generator=generator)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def admit(self, held: Held) -> None:
        """Its hits, and a row."""
        super().admit(held)
        held.extra["row"] = self._take_row()

    def adopt(self, request: int, prompt: int, seen: int) -> None:
        """A row for it."""
        super().adopt(request, prompt, seen)
        self.held[request].extra["row"] = self._take_row()

    def _take_row(self) -> int:
        row = min(self._free_rows)
        self._free_rows.remove(row)
        return row

    def free(self, held: Held) -> None:
        """The row too."""
        super().free(held)
        self._free_rows.add(held.extra["row"])

    def swap_out(self, held: Held) -> None:
        """The row too."""
        super().swap_out(held)
        row = held.extra.pop("row")
        held.extra["young"], move = leave(self._young(), [row])
        self._free_rows.add(row)
        self.batch.moves.append(move)

    def swap_in(self, held: Held) -> None:
        """The row too."""
        super().swap_in(held)
        row = held.extra["row"] = self._take_row()
        self.batch.moves.append(come(self._young(), [row], held.extra.pop("young")))

    def _young(self) -> list[torch.Tensor]:
        return list(self.young.flatten(0, 1))

    def follow(self, step: Step) -> None:
        """Then decoding sequences move to the first rows."""
        super().follow(step)
        count = len(step.decoding)
        decoding = [self.held[seq.index] for seq in step.decoding]
        here = {held.extra["row"]: held for held in self.held.values()}
        wanted = [row for row in range(count) if row not in here or here[row] not in decoding]
        late = [held for held in decoding if held.extra["row"] >= count]
        moves: list[tuple[int, int]] = []
        for row, held in zip(wanted, late, strict=True):  # they change places with whoever is there
            old = held.extra["row"]
            moves.append((old, row))
            if row in here:
                moves.append((row, old))
                here[row].extra["row"] = old
            else:
                self._free_rows.add(old)
                self._free_rows.discard(row)
            held.extra["row"] = row
        if moves:
            pair = torch.tensor(moves, dtype=torch.int64).to(self.device)
            self.batch.moves.append(lambda: self._move_rows(pair[:, 0], pair[:, 1]))

    def _move_rows(self, sources: torch.Tensor, targets: torch.Tensor) -> None:
        self.young.index_copy_(2, targets, self.young.index_select(2, sources))

    # -- what kernels go by -------------------------------------------------------------------------------------------

    def slot(self, held: Held, token: int) -> int:
        """In its row of young tokens."""
        return int(held.extra["row"]) * BLOCK + token % BLOCK

    def chunk_slots(self, held: Held, past: int, end: int) -> np.ndarray:
        """None yet: the chunk reads what lies there."""
        return np.full(end - past, -1, np.int32)

    def decoding(self, step: Step) -> list[int]:
        """Sequences of the batch in the order of their rows."""
        rows = [self.held[seq.index].extra["row"] for seq in step.decoding]
        return sorted(range(len(rows)), key=rows.__getitem__)

    def fill(self, batch: Batch) -> None:
        """Packed pages, young tokens and the page that a full row is packed into, of each decoding sequence."""
        pages, young = np.zeros(batch.padded, np.int32), np.zeros(batch.padded, np.int32)
        flush = np.full((batch.padded, 1), -1, np.int32)
        for row, held in enumerate(batch.held):
            pages[row] = (held.seen - 1) // BLOCK
            young[row] = (held.seen - 1) % BLOCK + 1
            if young[row] == BLOCK:
                flush[row] = held.pages[pages[row]]
        super().fill(batch)
        batch.fields["packed"], batch.fields["young"], batch.fields["flush"] = pages, young, flush
        batch.variant = batch.variant or int((flush >= 0).any())
        for chunk in batch.chunks:
            held, end = chunk.held, chunk.past + chunk.new
            batch.fields[f"table {held.request}"] = np.array(held.pages, np.int32)
            full = held.pages[chunk.past // BLOCK : end // BLOCK]
            batch.fields[f"full {held.request}"] = np.array(full, np.int32)[None]

    # -- attention ----------------------------------------------------------------------------------------------------

    def rotate(self, layer: int, qkv: torch.Tensor) -> torch.Tensor:
        """Decoded rows go to the young."""
        on_device = self.batch.on_device
        return rotary(
            qkv,
            self.decoder.turns,
            on_device["positions"],
            self.shape.heads,
            self.shape.kv_heads,
            self.fused,
            on_device["slots"],
            (self.young[layer, 0], self.young[layer, 1]),
        )

    def decode(self, layer: int, q: torch.Tensor, qkv: torch.Tensor) -> torch.Tensor:
        """Over packed pages and young tokens; then rows that are full are packed."""
        on_device, count = self.batch.on_device, self.batch.padded
        k, v = self.young[layer, 0, :count], self.young[layer, 1, :count]
        cache = KiviCache(
            self.packed[layer], on_device["table"], on_device["packed"], k, v, on_device["young"]
        )  # fmt: skip
        out = kivi_decode.decode(q, cache) if self.fused else decode_reference(q, cache).to(q.dtype)
        if self.batch.variant:
            self._pack(layer, k, v, on_device["flush"])
        return out

    def _pack(self, layer: int, k: torch.Tensor, v: torch.Tensor, table: torch.Tensor) -> None:
        if self.fused:
            pack(k, v, table, self.packed[layer])
            return
        blocks = [x.unflatten(2, (-1, BLOCK)).transpose(1, 2).flatten(0, 1) for x in (k, v)]
        live = table.flatten() >= 0
        made = pack_reference(blocks[0][live], blocks[1][live], self.packed[layer].bits, self.packed[layer].group)
        for into, x in zip(self.packed[layer].tensors, made.tensors, strict=True):
            into[table.flatten()[live].long()] = x

    def past(self, layer: int, chunk: Chunk, k: torch.Tensor, v: torch.Tensor) -> None:
        """Unpacked pages, then young tokens."""
        packed, young = divmod(chunk.past, BLOCK)
        table = self.batch.on_device[f"table {chunk.held.request}"]
        unpack_rows(self.packed[layer], table, packed, k, v, self.fused)
        row = chunk.held.extra["row"]
        for rows, kept in zip((k, v), self.young[layer], strict=True):
            rows[packed * BLOCK : chunk.past] = kept[row, :, :young].transpose(0, 1)

    def after(self, layer: int, chunk: Chunk, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
        """Whole blocks are packed, the rest is young."""
        begin, end = chunk.past // BLOCK * BLOCK, chunk.past + chunk.new
        middle = end // BLOCK * BLOCK
        if middle > begin:
            blocks = [x[begin:middle].transpose(0, 1).contiguous()[None] for x in (k, v)]
            self._pack(layer, *blocks, self.batch.on_device[f"full {chunk.held.request}"])
        row = chunk.held.extra["row"]
        for rows, kept in zip((k, v), self.young[layer], strict=True):
            kept[row, :, : end - middle] = rows[middle:end].transpose(0, 1)
