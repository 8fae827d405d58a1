"""PyramidInfer: Pyramid KV Cache Compression for High-throughput LLM Inference. arXiv:2405.12532.

While a prompt is read, tokens on which the newest queries do not agree drop out from layer to layer, hidden states and
all, so that deeper layers compute less. Code: mutonix/pyramidinfer; defaults are its configs/llama3_8b.json. A prompt
that comes in chunks is thinned chunk by chunk.
"""

from dataclasses import dataclass

from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.pyramid import PyramidKept, PyramidPrefill


@dataclass(frozen=True)
class Pyramidinfer(Paper):
    """recent: share of the prompt, the newest, that always goes on (0.2); decay: share that goes on at the last layer
    (0.9); interval: layers between cuts (1); least: tokens below which nothing is cut (64); every: generated tokens
    that are thinned at a time (16); keep: share of those that stays in the first layer (0.9); generated: of that share,
    what is left in the last one (0.1).
    """

    recent: float = 0.2
    decay: float = 0.9
    interval: int = 1
    least: int = 64
    every: int = 16
    keep: float = 0.9
    generated: float = 0.1

    title = "PyramidInfer"
    arxiv = "2405.12532"
    repo = "mutonix/pyramidinfer"
    knob = "keep"

    def __post_init__(self) -> None:
        require(0 <= self.recent < 1, f"recent must be in [0, 1), but got {self.recent}")
        for name in ("decay", "keep", "generated"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")
        for name in ("interval", "least", "every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Released code runs eager attention for its scores, and copies the cache to thin it."""
        retention = PyramidKept(
            self.recent, self.decay, self.interval, self.least, self.every, self.keep, self.generated,
            fidelity == "published",
        )  # fmt: skip
        return Traits(retention=retention, prefill=PyramidPrefill(self.recent, self.decay, self.interval), reuse="none")
