"""KVCrush: Key value cache size-reduction using similarity in head-behaviour. arXiv:2503.00022.

On top of a choice by importance: tokens are put into buckets by which heads care for them, and one of each bucket is
kept, filling part of the budget. Heads keep the same tokens, in whole pages. OpenVINO GenAI
(openvinotoolkit/openvino.genai) has it.
"""

from dataclasses import dataclass

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.votes import HeadBits


@dataclass(frozen=True)
class Kvcrush(Paper):
    """capacity: prompt tokens kept, whole pages; share: of them, that stand for buckets (free); window: last queries
    that vote (8); page: tokens of a page (16); sinks, recent: first and newest tokens that stay (32 and 128); anchor:
    bits that distances are taken from (mean, alternate, random, zeros, ones).
    """

    capacity: int = 2048
    share: float = 0.25
    window: int = 8
    page: int = 16
    sinks: int = 32
    recent: int = 128
    anchor: str = "mean"

    title = "KVCrush"
    arxiv = "2503.00022"
    repo = "openvinotoolkit/openvino.genai"
    knob = "capacity"

    def __post_init__(self) -> None:
        anchors = ("mean", "alternate", "random", "zeros", "ones")
        require(self.anchor in anchors, f"anchor must be one of {', '.join(anchors)}, but got {self.anchor!r}")
        require(
            self.capacity % self.page == 0,
            f"capacity must be a multiple of page ({self.page}), but got {self.capacity}",
        )
        require(0 <= self.share < 1, f"share must be in [0, 1), but got {self.share}")
        least = self.sinks + self.recent
        require(
            self.capacity > least, f"capacity must be more than sinks and recent ({least}), but got {self.capacity}"
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: whole pages are freed once, after the prompt."""
        scorer = HeadBits(self.window, blocks=self.page, share=self.share, anchor=self.anchor)
        return Traits(
            retention=Budgeted(Budget(self.capacity), scorer, sinks=self.sinks, recent=self.recent), reuse="none"
        )
