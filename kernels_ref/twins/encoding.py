"""Encoding: kept rows become stored tensors, and what attention reads of them. A basis hands rows to a quantizer."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kernels_ref.twins.bits import pack_each
from kernels_ref.twins.part import Part, Setting, part, part_of
from kernels_ref.twins.slots import Slots, gathered
from kernels_ref.twins.states import States
from kvsim.traits.encoding import Basis, Float8, GroupQuantizer, Quantizer


@dataclass(frozen=True)
class Coded:
    """What rows became: `tensors` as stored, and `key`, `value` [R, n, ..] float32 as they are read back."""

    key: Tensor
    value: Tensor
    tensors: tuple[Tensor, ...]

    @property
    def nbytes(self) -> int:
        """Of all that is stored."""
        return sum(x.nbytes for x in self.tensors)


@part_of(Quantizer)
class Plain(Part):
    """16-bit elements (fp16 here): the null quantizer, and what others override. Rows are of R heads in one layer.

    Attributes, set by the basis:
        layer: whose rows it codes. previous: the same class's quantizer in the layer before; None in the first.
        heads: [R], of the rows that `code` is given.
    """

    layer = 0
    previous: "Plain | None" = None
    heads: Tensor

    def prepare(self, states: States) -> None:
        """Before the first `code`, layers in order: what is fixed at the prompt's end, or fitted on calibration."""
        if self.trait.bits == 8:  # FlightLLM's INT8: a static scale
            seen = (self.setting.calibration or states).layers[self.layer]
            self.scales = _largest(seen.keys) / 127, _largest(seen.values) / 127

    def of_class(self, index: int) -> "Plain":
        """The quantizer of a token class."""
        return self

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rows [R, n, ..] of tokens at `position` [R, n], in order."""
        if self.trait.bits == 8:
            codes = [
                (x / scale).round().clamp(-127, 127).to(torch.int8)
                for x, scale in zip((key, value), self.scales, strict=True)
            ]
            return Coded(codes[0] * self.scales[0], codes[1] * self.scales[1], tuple(codes))
        stored = key.half(), value.half()
        return Coded(stored[0].float(), stored[1].float(), stored)

    def layer_held(self, layer: int, slots: Slots) -> list[Tensor]:
        """Metadata that the heads of a layer share."""
        return []

    def notes(self) -> tuple[str, ...]:
        """A paper about a cache on its way leaves this to others."""
        papers = [paper.title for paper in self.setting.policy.papers if hasattr(paper, "transit")]
        return tuple(f"{title}: coded on its way only, and what rests is full width" for title in papers)


@part_of(Float8)
class Eighths(Plain):
    """e4m3 with one scale for keys and one for values in each layer, from the prompt's largest element."""

    def prepare(self, states: States) -> None:
        """The scales (static bytes, as an engine calibrates them)."""
        seen = states.layers[self.layer]
        self.scales = _largest(seen.keys) / 448, _largest(seen.values) / 448

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Scaled, rounded, cut to the largest number."""
        read, codes = [], []
        for rows, scale in zip((key, value), self.scales, strict=True):
            codes.append((rows / scale).clamp(-448, 448).to(torch.float8_e4m3fn))
            read.append(codes[-1].float() * scale)
        return Coded(read[0], read[1], tuple(codes))


def _largest(rows: Tensor) -> float:
    return max(1e-8, float(rows.abs().max()))


def rounded(rows: Tensor, bits: int, clip: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Uniform codes along the last dimension: (codes uint8, scale, minimum as fp16 [..., 1], what is read back).

    scale = (max - min) / (2^bits - 1); x ~ minimum + scale * code (KIVI, arXiv:2402.02750, section 3). Both ends of a
    group's range are scaled by `clip`. Rows without elements have neither.
    """
    if not rows.shape[-1]:
        return rows.to(torch.uint8), rows.half(), rows.half(), rows
    low, high = clip * rows.amin(-1, keepdim=True), clip * rows.amax(-1, keepdim=True)
    minimum, scale = low.half(), ((high - low) / (2**bits - 1)).half()
    step = scale.float()
    codes = ((rows - minimum.float()) * (1 / torch.where(step > 0, step, 1.0))).round().clamp(0, 2**bits - 1)
    codes = torch.where(step > 0, codes, 0.0)
    return codes.to(torch.uint8), scale, minimum, codes * step + minimum.float()


@part_of(GroupQuantizer)
class Grouped(Plain):
    """KIVI: keys per channel over groups of tokens, values per token over groups of channels; the newest stay whole."""

    def code(self, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Keys are flushed `residual` tokens at a time, values leave the window one by one."""
        trait, n = self.trait, key.shape[1]
        keys, values = n - n % trait.residual, max(0, n - trait.residual)
        old_keys, key_tensors = per_channel(key[:, :keys], trait.group, trait.bits)
        old_values, value_tensors = per_token(value[:, :values], trait.group, trait.value_bits or trait.bits)
        recent = key[:, keys:].half(), value[:, values:].half()
        read = torch.cat([old_keys, recent[0].float()], 1), torch.cat([old_values, recent[1].float()], 1)
        return Coded(*read, (*key_tensors, *value_tensors, *recent))


def per_channel(rows: Tensor, group: int, bits: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Rows [R, n, D], n a multiple of `group`: (read back, stored), groups of tokens in each channel."""
    r, n, dim = rows.shape
    codes, scale, minimum, read = rounded(rows.reshape(r, n // group, group, dim).transpose(2, 3), bits)
    return read.transpose(2, 3).reshape(r, n, dim), (pack_each(codes, bits), scale, minimum)


def per_token(rows: Tensor, group: int, bits: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Rows [R, n, D]: (read back, stored), groups of channels (the last may be narrower) in each token."""
    if not rows.shape[2]:
        return rows, ()
    stored: list[Tensor] = []
    read = []
    for start in range(0, rows.shape[2], group):
        codes, scale, minimum, back = rounded(rows[:, :, start : start + group], bits)
        stored += [codes, scale, minimum]
        read.append(back)
    packed = pack_each(torch.cat(stored[::3], -1), bits)
    return torch.cat(read, -1), (packed, torch.cat(stored[1::3], -1), torch.cat(stored[2::3], -1))


@part_of(Basis)
class AllChannels(Part):
    """Rows as they are: the null basis, and what others override."""

    def __init__(self, trait: Basis, setting: Setting) -> None:
        super().__init__(trait, setting)
        self.quantizers: dict[tuple[int, int], Plain] = {}

    def fit(self, states: States) -> None:
        """What the basis itself takes from the prompt's states, or from `setting.calibration`."""

    def as_coded(self, states: States, index: int) -> States:
        """`states` with the rows that the quantizer of a token class gets in place of keys and values."""
        return states

    def prepare(self, states: States) -> None:
        """What it fits itself, then its quantizers, on rows as they will get them."""
        self.fit(states)
        setting, text = self.setting, self.setting.calibration
        for index in range(setting.policy.retention.classes):
            coded = None if text is None else self.as_coded(text, index)
            seen, own = replace(setting, calibration=coded), self.as_coded(states, index)
            for layer in range(setting.model.layers):
                quantizer = setting.policy.quantizer.of_kind(setting.layout.kind_of(layer)).of_class(index)
                made = self.quantizers[layer, index] = part(quantizer, seen)
                made.layer, made.previous = layer, self.quantizers.get((layer - 1, index))
                made.prepare(own)

    def encode(self, layer: int, slots: Slots) -> tuple[Slots, list[Tensor]]:
        """Slots with rows as attention reads them, and the tensors that hold them: class by class, head by head."""
        read = replace(slots, key=slots.key.clone(), value=slots.value.clone())
        tensors: list[Tensor] = []
        for index in range(self.setting.policy.retention.classes):
            for heads, at in alike(slots, index):
                all_heads = len(heads) == slots.position.shape[0]
                rows = slots.key, slots.value, slots.position
                key, value, position = (gathered(x if all_heads else x[heads], at) for x in rows)
                quantizer = self.quantizers[layer, index]
                quantizer.heads = heads
                coded = self.code(quantizer, layer, key, value, position)
                for into, made in ((read.key, coded.key), (read.value, coded.value)):
                    if all_heads:
                        into.scatter_(1, at[..., None].expand(made.shape), made)
                    else:
                        into[heads[:, None], at] = made
                tensors += coded.tensors
        return read, tensors

    def code(self, quantizer: Plain, layer: int, key: Tensor, value: Tensor, position: Tensor) -> Coded:
        """Rows [R, n, ..] of kv heads `quantizer.heads` [R]."""
        return quantizer.code(layer, key, value, position)


def alike(slots: Slots, index: int) -> list[tuple[Tensor, Tensor]]:
    """(heads [R], slots [R, n] of a class) of heads that hold equally many, all at once where all do; none of none."""
    here = slots.valid & (slots.kind == index)
    counts = here.sum(1)
    found = []
    for many in counts.unique().tolist():
        if not many:
            continue
        heads = (counts == many).nonzero()[:, 0]
        found.append((heads, here[heads].nonzero()[:, 1].reshape(len(heads), many)))
    return found
