"""Model Tells You What to Discard: Adaptive KV Cache Compression for LLMs. arXiv:2310.01801, machilusZ/FastGen.

At the prompt's end each head gets the cheapest rule that recovers enough of its attention: special tokens, also
punctuation, also heavy hitters, also a window, or everything. Shares of heads depend on the prompt: they are a
profile's. Defaults are of AnswerDotAI/cold-compress, to which the repository points.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.head_budgets import HeadRules, Rule
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.scorers import AccumulatedScores


@dataclass(frozen=True)
class Fastgen(Paper):
    """heavy, window: shares of the prompt that a rule keeps of heavy hitters and of newest tokens (0.3 each); special:
    special tokens of a prompt; punctuation: its share of punctuation (an English text: about 0.1); recovery: attention
    that a rule must keep (0.85).
    """

    heavy: float = 0.3
    window: float = 0.3
    special: int = 4
    punctuation: float = 0.1
    recovery: float = 0.85

    title = "FastGen"
    arxiv = "2310.01801"
    repo = "AnswerDotAI/cold-compress"
    above_full = "a score for each slot"
    figures = MappingProxyType({"heads_by_rule": assumed(0.2, 0.2, 0.3, 0.15, 0.15, spread=0.3)})

    def __post_init__(self) -> None:
        for name in ("heavy", "window", "punctuation"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1], but got {getattr(self, name)}")
        require(self.special >= 1, f"special must be at least 1, but got {self.special}")
        require(0 < self.recovery <= 1, f"recovery must be in (0, 1], but got {self.recovery}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Both need the whole attention map once; the reimplementation writes it out and moves slots at each step."""
        shares = (self.punctuation, self.punctuation + self.heavy, self.punctuation + self.heavy + self.window)
        some = [Rule(min(1.0, share), sinks=self.special) for share in shares]
        rules = (Rule(everything=True), *reversed(some), Rule(sinks=self.special))
        budget = HeadRules(rules=rules, figure=self.profile()["heads_by_rule"], recovery=self.recovery)
        written = fidelity == "published"
        scorer = AccumulatedScores(written)
        return Traits(retention=Budgeted(budget, scorer, every=1, copies=written), reuse="none")
