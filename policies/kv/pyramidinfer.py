"""PyramidInfer: Pyramid KV Cache Compression for High-throughput LLM Inference. arXiv:2405.12532, mutonix/pyramidinfer.

Already while a prompt is read, layers pass on only the tokens that recent ones attend to: deeper layers compute and
cache fewer. Generated tokens are thinned in the same way.
"""

from dataclasses import dataclass

from kvsim.traits.depth import DepthPrefill, DepthThinned
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Pyramidinfer(Paper):
    """recent: share of tokens that is never thinned (0.2); last: ratio of the last thinning, the first is 1 (0.9, along
    a cosine); stride: layers between thinnings (2); least: tokens that a layer keeps at least (64); every: generated
    tokens between thinnings (16).
    """

    recent: float = 0.2
    last: float = 0.9
    stride: int = 2
    least: int = 64
    every: int = 16

    title = "PyramidInfer"
    arxiv = "2405.12532"
    repo = "mutonix/pyramidinfer"

    def __post_init__(self) -> None:
        require(0 <= self.recent <= 1, f"recent must be in [0, 1], but got {self.recent}")
        require(0 < self.last <= 1, f"last must be in (0, 1], but got {self.last}")
        for name in ("stride", "every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(self.least >= 0, f"least must be at least 0, but got {self.least}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: recent rows' attention is written out."""
        shape = (self.recent, self.last, self.stride)
        retention = DepthThinned(*shape, self.least, self.every)
        return Traits(retention=retention, prefill=DepthPrefill(*shape), reuse="none")
