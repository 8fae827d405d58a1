"""ReKV: Streaming Video Question-Answering with In-context Video KV-Cache Retrieval. arXiv:2503.00540.

Frames are read once under a sliding window and their rows go to host DRAM or a drive; a question fetches the frames
whose mean keys are nearest, once, and is answered from them. Code: Becomebright/ReKV. A request's prompt is taken as
the video with the question at its end.
"""

from dataclasses import dataclass

from kvsim.traits.frames import Frames, WindowedReading
from kvsim.traits.placement import FETCH
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.recalled import Recalled


@dataclass(frozen=True)
class Rekv(Paper):
    """frames: that a question fetches (paper: 64); frame_tokens: of a frame (LLaVA-OneVision: 196); window: tokens
    that a frame is read against (15000); recent: tokens of question and answer (256, assumed); first: of the system
    prompt, which is always read (14, LLaVA-OneVision's); tier: where frames rest.
    """

    frames: int = 64
    frame_tokens: int = 196
    window: int = 15_000
    recent: int = 256
    first: int = 14
    tier: str = "dram"

    title = "ReKV"
    arxiv = "2503.00540"
    repo = "Becomebright/ReKV"
    knob = "frames"
    above_full = "mean keys of frames"

    def __post_init__(self) -> None:
        for name in ("frames", "frame_tokens", "window", "recent"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(self.first >= 0, f"first must be at least 0, but got {self.first}")
        require(self.tier in FETCH, f"tier must be one of {', '.join(FETCH)}, but got {self.tier!r}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """A video's rows serve all questions about it: equal prefixes are shared."""
        held = max(self.window, self.frames * self.frame_tokens) + self.first + self.recent
        return Traits(
            retention=WindowedReading(self.window),
            selection=Frames(self.frames, self.frame_tokens, self.recent, self.tier, self.first),
            placement=Recalled(held, reads_past=False, tier=self.tier),
        )
