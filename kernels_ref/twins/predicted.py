"""AQUA-KV: what rows add to a prediction from the layer before, rotated, on a grid (arXiv:2501.19392)."""

from functools import cache

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.encoding import Coded
from kernels_ref.twins.hadamard import largest_block, rotated
from kernels_ref.twins.kmeans import kmeans, nearest
from kernels_ref.twins.one_row import by_head, joined
from kernels_ref.twins.part import part_of
from kernels_ref.twins.states import States, rotate
from kernels_ref.twins.tokenwise import TokenWise
from kvsim.traits.predicted import Predicted

RIDGE = 1e-3  # of the inputs' mean square, as in the released code

Map = tuple[Tensor, Tensor]  # weights [inputs, outputs], bias [outputs]
Rows = tuple[Tensor, Tensor]  # keys before rotary embedding and values of all heads, [n, Hk x D]


@part_of(Predicted)
class Residuals(TokenWise):
    """Rows of a layer's heads are one row. Keys are predicted from the layer before as it is read back, values from its
    values and the layer's own keys, both as read back: ridge regression on calibration rows, layer after layer.
    """

    previous: "Residuals | None"
    coded: Rows  # what this layer's coded tokens are read as
    taught: Rows | None = None  # the same of the calibration text

    def prepare(self, states: States) -> None:
        """The predictors; 16 bits."""
        self.turns = states.turns
        seen = (self.setting.calibration or states).layers[self.layer]
        keys, values = joined(seen.raw_keys), joined(seen.values)
        self.maps: tuple[Map, Map] | None = None
        if self.previous is None:
            self.taught = self._quantized(keys)[0], self._quantized(values)[0]
            return
        assert self.previous.taught is not None
        before_keys, before_values = self.previous.taught
        self.previous.taught = None
        key_map = _regressed(before_keys, keys)
        guess = _mapped(before_keys, key_map)
        read_keys = guess + self._quantized(keys - guess)[0]
        inputs = torch.cat([read_keys, before_values], 1)
        value_map = _regressed(inputs, values)
        guess = _mapped(inputs, value_map)
        self.taught = read_keys, guess + self._quantized(values - guess)[0]
        self.maps = key_map, value_map

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Sinks whole, then codes, then the newest whole."""
        n, trait = key.shape[1], self.trait
        later = max(0, n - trait.sinks)
        first, many = min(n, trait.sinks), max(0, later - later % trait.buffer - trait.buffer)
        span = slice(first, first + many)
        rows = self.known_rows(key[:, span], value[:, span], position[:, span])
        self.coded = rows[2][0], rows[3][0]
        whole = [x[:, part].half() for x in (key, value) for part in (slice(first), slice(first + many, n))]
        read_key = torch.cat([whole[0].float(), rows[0], whole[1].float()], 1)
        read_value = torch.cat([whole[2].float(), rows[1], whole[3].float()], 1)
        codes = [pack_each(x, 2 * self._bits) for x in rows[4:6]]
        return Coded(read_key, read_value, (*codes, rows[6], rows[7], *whole))

    def rows(self, key: Tensor, value: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        """As read, by head and (keys unturned) as one row [1, n, C]; codes [Hk, n, D / 2]; scales [1, n, groups]."""
        heads = len(key)
        keys, values = joined(rotate(key, position, self.turns, back=True)), joined(value)
        guess = self._guess(0, len(keys), keys)
        read, key_codes, key_scales = self._quantized(keys - guess)
        read_keys = guess + read
        guess = self._guess(1, len(keys), read_keys)
        read, value_codes, value_scales = self._quantized(values - guess)
        read_values = guess + read
        turned = rotate(by_head(read_keys, heads), position, self.turns)
        codes = by_head(key_codes, heads), by_head(value_codes, heads)
        scales = key_scales[None], value_scales[None]
        return turned, by_head(read_values, heads), read_keys[None], read_values[None], *codes, *scales

    def stored(self, rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Listed by `code`."""
        raise NotImplementedError

    def _guess(self, of: int, many: int, keys: Tensor) -> Tensor:
        """Of the last `many` coded tokens: keys (0), or values (1) that have these keys."""
        if self.maps is None or self.previous is None:
            return torch.zeros_like(keys)
        before = [x[len(x) - many :] for x in self.previous.coded]
        return _mapped(before[0] if of == 0 else torch.cat([keys, before[1]], 1), self.maps[of])

    @property
    def _bits(self) -> int:
        return int(self.trait.first_bits if self.previous is None else self.trait.bits)

    def _quantized(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [n, C] as read back, codes [n, C / 2] and scales [n, groups] fp16."""
        points = grid(4**self._bits).to(rows)
        read, codes, scales = [], [], []
        for part in rows.split(self.trait.group, 1):
            block = largest_block(part.shape[1])
            scale = (part.norm(dim=1, keepdim=True) * part.shape[1] ** -0.5).half()
            pairs = (rotated(part, block) / scale.float().clamp(min=1e-6)).reshape(1, -1, 2)
            index = nearest(pairs, points[None])[0]
            read.append(rotated(points[index].reshape(part.shape) * scale.float(), block))
            codes.append(index.reshape(len(part), part.shape[1] // 2))
            scales.append(scale)
        return torch.cat(read, 1), torch.cat(codes, 1), torch.cat(scales, 1)

    def notes(self) -> tuple[str, ...]:
        """Where channels do not go into groups."""
        width = self.setting.model.kv_heads * self.setting.model.head_dim
        block = largest_block(min(self.trait.group, width))
        found = "the calibration text" if self.setting.calibration else "the prompt itself"
        taught = f"AQUA-KV: predictors learnt from {found}"
        if block == self.trait.group:
            return (taught,)
        return (
            taught,
            f"AQUA-KV: {block} channels are rotated together and {min(self.trait.group, width)} share a scale",
        )


@cache
def grid(points: int) -> Tensor:
    """[points, 2] that miss a normal pair least: k-means of drawn pairs (the paper's CLVQ grids), 16 bits."""
    generator = torch.Generator().manual_seed(points)
    drawn = torch.randn(1, 1 << 14, 2, generator=generator)
    return kmeans(drawn, points, 30, generator)[0].half().float()


def _regressed(inputs: Tensor, outputs: Tensor) -> Map:
    """Ridge regression of `outputs` [n, b] on `inputs` [n, a] and a constant."""
    x, y = inputs.double(), outputs.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    x, y = x - mean_x, y - mean_y
    square = x.T @ x
    square.diagonal().add_(RIDGE * square.diagonal().mean().clamp(min=1e-12))
    weights = torch.linalg.solve(square, x.T @ y)
    return weights.half().float(), (mean_y - mean_x @ weights).half().float()


def _mapped(inputs: Tensor, by: Map) -> Tensor:
    return inputs @ by[0] + by[1]
