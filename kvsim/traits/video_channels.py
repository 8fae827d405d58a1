"""Bits by channel for video: VidKV."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise
from kvsim.cost.op import Op
from kvsim.traits.encoding import Ints, Parts, Quantizer
from kvsim.traits.quantizers import packed
from kvsim.traits.trait import End


@dataclass(frozen=True)
class VideoChannels(Quantizer):
    """VidKV: a part of the key channels at 2 bits, the others at 1 bit after an FFT over a group of tokens; values at
    1.58 bits, five to a byte. Both per channel, with an fp16 scale and minimum a group; the newest tokens at 16 bits.
    A bit a channel says which are loud, and a bit a token which are salient, where some are.

    Attributes:
        anomalous: share of key channels at 2 bits. salient: share of tokens whose values have 2 bits.
    """

    anomalous: float = 0.5
    salient: float = 0.0
    group: int = 128
    residual: int = 128
    instructions = 1  # see `work`
    linear = False

    @property
    def period(self) -> int:  # type: ignore[override]
        """Groups are coded at once."""
        return self.residual

    def bytes(self, tokens: Ints, key_dim: int, value_dim: int) -> Parts:
        """Packed codes, groups' scales, recent rows."""
        recent = tokens % self.residual
        coded = tokens - recent
        loud = round(self.anomalous * key_dim)
        kept = np.ceil(coded * self.salient).astype(np.int64)
        key = packed(coded, 2 * loud + (key_dim - loud), 1) + recent * (2 * key_dim)
        value = -(-(coded - kept) * value_dim // 5) + packed(kept, value_dim, 2) + recent * (2 * value_dim)
        marks = -(-key_dim // 8) * (coded > 0) + (-(-coded // 8) if self.salient else 0)
        return Parts(key, value, coded // self.group * (4 * (key_dim + value_dim)) + marks)

    def allocated(self, tokens: Ints, block: int, key_dim: int, value_dim: int) -> Ints:
        """Whole groups of codes, and the recent rows from the start."""
        codes = self.bytes(-(-tokens // self.residual) * self.residual, key_dim, value_dim).total
        found: Ints = codes + self.residual * 2 * (key_dim + value_dim) * (tokens > 0)
        return found

    def work(self, tokens: Ints, key_dim: int, value_dim: int) -> Ints:
        """Keys of 1 bit: log2(group) butterflies of two instructions; 6 for other elements."""
        quiet = key_dim - round(self.anomalous * key_dim)
        fft = 2 * int(np.log2(self.group))
        return (tokens - tokens % self.residual) * (6 * (key_dim + value_dim) + fft * quiet)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Ranges of channels, the FFT, packing."""
        width = sum(kind.heads) * (geo.key_dim + geo.value_dim)
        work = end.prompt * (width * (6.0 + np.log2(self.group)))
        return [elementwise("code_channels", end.prompt * (6.0 * width), 5, kind.layers, work)]
