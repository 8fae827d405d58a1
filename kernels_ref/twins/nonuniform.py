"""KVQuant: codes that look up their layer's table, outliers kept apart, first tokens whole (arXiv:2401.18079)."""

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import Coded
from kernels_ref.twins.kmeans import levels
from kernels_ref.twins.one_row import by_head, joined
from kernels_ref.twins.part import part_of
from kernels_ref.twins.tokenwise import Fitted
from kvsim.traits.nonuniform import NonUniform

SAMPLE = 1 << 15


@dataclass(frozen=True)
class Tables:
    """Of a layer: levels of normalized keys and values; middle and half-width of each key channel's range [C]."""

    keys: Tensor
    values: Tensor
    middle: Tensor
    half: Tensor


@part_of(NonUniform)
class Tabled(Fitted):
    """All heads' rows are one row of C channels: keys before rotary embedding, scaled by channel; values, by token.

    A channel's range leaves out the outermost `outliers` of the calibration's elements. Of each token `outliers` of its
    channels are kept apart, always as many (the released kernels' cap): of keys those that lie farthest out in their
    channel's range, of values those farthest from the token's mean. Tables are k-means levels of what stays; the paper
    weights them by Fisher information, here all elements count alike. Metadata and tables are 16 bits.
    """

    def fit(self, key: Tensor, value: Tensor) -> Tables:
        """From rows [Hk, n, ..], without the first tokens where there are others."""
        raw, rows = (joined(x[:, self.trait.sinks :] if x.shape[1] > self.trait.sinks else x) for x in (key, value))
        share = self.trait.outliers / 2
        ends = torch.quantile(raw, torch.tensor([share, 1 - share]).to(raw), 0)
        middle, half = ends.mean(0).half().float(), (ends.diff(dim=0)[0] / 2).half().float().clamp(min=1e-6)
        normal = ((raw - middle) / half)[None]
        scaled = self._scaled(rows[None])
        tables = [self._levels(x, apart) for x, apart in ((normal, self._far(normal)), (scaled[0], scaled[1]))]
        return Tables(tables[0], tables[1], middle, half)

    def _levels(self, normal: Tensor, apart: Tensor) -> Tensor:
        inside = torch.ones_like(normal, dtype=torch.bool).scatter_(2, apart, False)
        some = normal[inside]
        return levels(some[:: max(1, len(some) // SAMPLE)], 1 << self.trait.bits).half().float()

    def _far(self, distance: Tensor) -> Tensor:
        """[1, n, many] channels with the largest absolute entry of [1, n, C]."""
        return distance.abs().topk(ceil(self.trait.outliers * distance.shape[2]), 2).indices

    def _scaled(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens' values [1, n, C] scaled to their own range, what is apart, and the range's middle and half-width."""
        apart = self._far(rows - rows.mean(2, keepdim=True))
        gone = torch.zeros_like(rows, dtype=torch.bool).scatter_(2, apart, True)
        low = rows.masked_fill(gone, torch.inf).amin(2, keepdim=True)
        high = rows.masked_fill(gone, -torch.inf).amax(2, keepdim=True)
        middle, half = ((low + high) / 2).half(), ((high - low) / 2).half()
        return (rows - middle.float()) / half.float().clamp(min=1e-6), apart, middle, half

    def rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """Codes, then of keys and of values: outliers, their channels, pointers; then the values' ranges."""
        raw, heads = self.raw(key, position), len(key)
        tables, _ = self.fitted(raw, value)
        keys, values = joined(raw)[None], joined(value)[None]
        normal = (keys - tables.middle) / tables.half
        far = self._far(normal)
        key_codes, read = _looked_up(normal, tables.keys)
        read_key, key_sparse = _mended(read * tables.half + tables.middle, keys, far)
        scaled, apart, middle, half = self._scaled(values)
        value_codes, read = _looked_up(scaled, tables.values)
        read_value, value_sparse = _mended(read * half.float() + middle.float(), values, apart)
        each = [by_head(x[0], heads) for x in (read_key, read_value, key_codes, value_codes)]
        each[0] = self.turn(each[0], position)
        return *each, *key_sparse, *value_sparse, middle, half

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """The first tokens whole."""
        first = min(self.trait.sinks, key.shape[1])
        rows = self.known_rows(key, value, position)
        whole = key[:, :first].half(), value[:, :first].half()
        read = (torch.cat([x.float(), y[:, first:]], 1) for x, y in zip(whole, rows[:2], strict=True))
        return Coded(*read, (*self.stored(tuple(x[:, first:] for x in rows[2:])), *whole))

    def stored(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Codes packed; without outliers there are no pointers either."""
        codes = tuple(pack_each(x, self.trait.bits) for x in rows[:2])
        return (*codes, *(x for x in rows[2:] if x.numel())) if self.trait.outliers else (*codes, *rows[-2:])

    def notes(self) -> tuple[str, ...]:
        """Of the fit."""
        return (f"KVQuant: tables learnt from {self.taught_by}, unweighted instead of by Fisher information",)


def _looked_up(normal: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of the nearest levels, and the levels."""
    codes = torch.bucketize(normal, (table[1:] + table[:-1]) / 2)
    return codes, table[codes]


def _mended(read: Tensor, rows: Tensor, apart: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """With outliers as they are, rounded to 16 bits; and those, their channels, and a pointer for each token."""
    values = rows.gather(2, apart).half()
    pointers = torch.full(rows.shape[:2], apart.shape[2], dtype=torch.int32, device=rows.device)
    return read.scatter(2, apart, values.float()), (values, apart.to(torch.int16), pointers)
