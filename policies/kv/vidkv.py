"""Plug-and-Play 1.x-Bit KV Cache Quantization for Video Large Language Models. arXiv:2503.16257.

Loud key channels take 2 bits, the others 1 bit after an FFT over a group of tokens, values 1.58 bits; salient tokens'
values may have 2. The official repository holds no code; the group is assumed.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.video_channels import VideoChannels


@dataclass(frozen=True)
class Vidkv(Paper):
    """anomalous: share of key channels at 2 bits (0.5); salient: share of tokens whose values have 2 bits (0; the
    paper's option); group: tokens that share a scale in a channel; residual: newest tokens at 16 bits.
    """

    anomalous: float = 0.5
    salient: float = 0.0
    group: int = 128
    residual: int = 128

    title = "VidKV"
    arxiv = "2503.16257"

    def __post_init__(self) -> None:
        require(0 <= self.anomalous <= 1, f"anomalous must be in [0, 1], but got {self.anomalous}")
        require(0 <= self.salient <= 1, f"salient must be in [0, 1], but got {self.salient}")
        require(self.group >= 2, f"group must be at least 2, but got {self.group}")
        fits = self.residual > 0 and self.residual % self.group == 0
        require(fits, f"residual must be a multiple of group ({self.group}), but got {self.residual}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """There is no published code to differ from."""
        parts = {"group": self.group, "residual": self.residual}
        return Traits(quantizer=VideoChannels(anomalous=self.anomalous, salient=self.salient, **parts))
