"""Streaming Video Question-Answering with In-context Video KV-Cache Retrieval. arXiv:2503.00540, Becomebright/ReKV.

Frames are read under a sliding window and their cache goes to host memory; for a question the frames whose mean keys
are most alike are fetched once, and serve the whole answer. Traces do not tell questions apart: one of `answer` tokens
is assumed.
"""

from dataclasses import dataclass

from kvsim.traits.clusters import Represented
from kvsim.traits.placement import HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.windowed import ReadInWindow


@dataclass(frozen=True)
class Rekv(Paper):
    """frame: tokens of one (196 for LLaVA-OneVision); frames: that a question fetches (64); window: tokens that a
    frame's attend to (15,000); answer: tokens for which they serve (a stated default).
    """

    frame: int = 196
    frames: int = 64
    window: int = 15000
    answer: int = 128

    title = "ReKV"
    arxiv = "2503.00540"
    repo = "Becomebright/ReKV"
    above_full = "a mean key for each frame"

    def __post_init__(self) -> None:
        for name in ("frame", "frames", "window", "answer"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one."""
        selection = Represented(self.frame, self.frame * self.frames, missed=1 / self.answer)
        return Traits(
            retention=ReadInWindow(self.window), selection=selection, placement=HostResident(False), reuse="none"
        )
