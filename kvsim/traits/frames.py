"""Frames: a video is read under a sliding window, its rows rest elsewhere, a question recalls a few frames (ReKV)."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import copy, elementwise
from kvsim.cost.op import Op
from kvsim.traits.placement import DRAM, FETCH
from kvsim.traits.retention import Retention
from kvsim.traits.selection import Ints, Selection
from kvsim.traits.trait import End


@dataclass(frozen=True)
class WindowedReading(Retention):
    """All tokens stay, but each was read against the `window` before it."""

    window: int

    def prefill_limit(self, geo: Geometry, kind: LayerKind, group: int) -> int | None:
        """The window."""
        return self.window


@dataclass(frozen=True)
class Frames(Selection):
    """The prompt's end is the question: the `frames` frames whose mean keys are nearest to it are fetched once.

    Attributes:
        frame_tokens: of a frame, one block. recent: tokens of question and answer that are read besides; first: those
            of the system prompt before the video, which always are.
        tier: where frames are fetched from.
    """

    frames: int
    frame_tokens: int
    recent: int
    tier: str = DRAM
    first: int = 0
    selects = True

    def read(self, kind: LayerKind, kept: Ints) -> Ints:
        """System prompt, frames, question and answer."""
        return np.minimum(kept, self.first + self.frames * self.frame_tokens + self.recent)

    def recalled(self, kind: LayerKind, read: Ints) -> Ints:
        """Nothing: frames stay on the chip until the answer ends."""
        return np.zeros_like(read)

    def index_bytes(self, geo: Geometry, kind: LayerKind, kept: Ints) -> Ints:
        """A 16-bit mean key a frame."""
        return kept // self.frame_tokens * (2 * geo.key_dim)

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Mean keys, their cosine with the question's mean query, top-k; the frames' rows on every lane to here."""
        heads, prompt = sum(kind.heads), np.asarray(end.prompt)
        index = prompt // self.frame_tokens * (2.0 * heads * geo.key_dim)
        fetched = np.minimum(prompt, self.frames * self.frame_tokens) * (2.0 * heads * (geo.key_dim + geo.value_dim))
        keys = prompt * (2.0 * heads * geo.key_dim)
        return [
            elementwise("mean_keys", keys[()], 1, kind.layers),
            elementwise("choose_frames", 2 * index[()], 3, kind.layers),
            *(copy(f"fetch_frames_{lane}", lane, fetched[()], 1, kind.layers) for lane in FETCH[self.tier]),
        ]
