"""GEAR: An Efficient KV Cache Compression Recipe for Near-Lossless Generative Inference of LLM. arXiv:2403.05527.

Few bits, low-rank factors of what they miss, and the largest misses kept apart; new tokens wait in a buffer and are
compressed together. Code: opengear-project/GEAR.
"""

from dataclasses import dataclass

from kvsim.traits.classes import Phases
from kvsim.traits.lowrank_sparse import LowRankSparse
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import Simulated


@dataclass(frozen=True)
class Gear(Paper):
    """bits: of a code (2 or 4); group: elements that share a scale (64); buffer: newest tokens at 16 bits (64); rank:
    of the prompt's factors (4); block_rank: of each block's (2); sparse: share of elements kept apart (0.02; 0 is
    GEAR-L); loops: of the power iteration (3).
    """

    bits: int = 4
    group: int = 64
    buffer: int = 64
    rank: int = 4
    block_rank: int = 2
    sparse: float = 0.02
    loops: int = 3

    title = "GEAR"
    arxiv = "2403.05527"
    repo = "opengear-project/GEAR"
    knob = "bits"
    above_full = "factors of few tokens"

    def __post_init__(self) -> None:
        require(self.bits in (2, 4), f"bits must be 2 or 4, but got {self.bits}")
        require(
            self.group >= 1 and self.buffer >= 1,
            f"group and buffer must be at least 1, but got {self.group}, {self.buffer}",
        )
        require(
            min(self.rank, self.block_rank) >= 0, f"ranks must be at least 0, but got {self.rank}, {self.block_rank}"
        )
        require(0 <= self.sparse < 0.5, f"sparse must be in [0, 0.5), but got {self.sparse}")
        require(self.loops >= 1, f"loops must be at least 1, but got {self.loops}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published accuracy is of code that rounds and stores 16 bits; prompt and generated tokens are classes."""
        if fidelity == "published":
            return Traits(quantizer=Simulated(passes=8), reuse="none")
        quantizer = LowRankSparse(
            self.bits, self.group, self.buffer, self.rank, self.block_rank, self.sparse, self.loops
        )
        return Traits(retention=Phases(), quantizer=quantizer, reuse="none")
