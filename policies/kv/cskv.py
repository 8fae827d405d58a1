"""CSKV: Training-Efficient Channel Shrinking for KV Cache in Long-Context Scenarios. arXiv:2409.10593, wln20/CSKV.

Narrow features of all tokens and full rows of a short window; old rows are widened at each step. With codes on top
(`cskv+kivi:bits=4:group=32:residual=32`) it is the paper's 95 %.
"""

from dataclasses import dataclass

from kvsim.traits.bases import Latent
from kvsim.traits.policy import Fidelity, Paper, Traits, require


@dataclass(frozen=True)
class Cskv(Paper):
    """key_keep, value_keep: kept widths (0.2 on average for the paper's 80 %; its scripts take 0.25 and 0.75); window:
    newest tokens at full width (32).
    """

    key_keep: float = 0.2
    value_keep: float = 0.2
    window: int = 32

    title = "CSKV"
    arxiv = "2409.10593"
    repo = "wln20/CSKV"
    knob = ("key_keep", "value_keep")
    above_full = "the window at full width besides narrow rows, of few tokens"

    def __post_init__(self) -> None:
        for name in ("key_keep", "value_keep"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")
        require(self.window >= 0, f"window must be at least 0, but got {self.window}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both fidelities are one: the released code widens old rows at each step too."""
        return Traits(basis=Latent(self.key_keep, self.value_keep, self.window, widens_values=True))
