"""SentenceKV: Efficient LLM Inference via Sentence-Level Semantic KV Caching. arXiv:2504.00970.

A prompt is cut to candidates, which are grouped by sentence and rest in host memory; one mean key a sentence stays on
the GPU, and a step fetches the best sentences' tokens. Sentences of `sentence` tokens are assumed.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.clusters import Represented
from kvsim.traits.placement import HostResident
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Sentencekv(Paper):
    """budget: tokens read by choice (128); factor: candidates of a prompt are so many budgets (5); sinks, recent: first
    and newest tokens that stay and are read (32 each); window: last queries that vote (32); sentence: tokens of one, on
    average.
    """

    budget: int = 128
    factor: int = 5
    sinks: int = 32
    recent: int = 32
    window: int = 32
    sentence: int = 20

    title = "SentenceKV"
    arxiv = "2504.00970"
    above_full = "a mean key for each sentence"
    figures = MappingProxyType({"missed_tokens": assumed(0.3, spread=0.3)})

    def __post_init__(self) -> None:
        for name in ("budget", "factor", "window", "sentence"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        require(
            min(self.sinks, self.recent) >= 0,
            f"sinks and recent must be at least 0, got {self.sinks} and {self.recent}",
        )

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code caches every query head."""
        always = self.sinks + self.recent
        scorer, capacity = WindowVotes(self.window, 7), Budget(self.budget * self.factor + always)
        published = fidelity == "published"
        retention = Budgeted(capacity, scorer, sinks=self.sinks, recent=self.recent, repeat_heads=published)
        selection = Represented(self.sentence, self.budget, always, missed=self.profile()["missed_tokens"].mean)
        return Traits(retention=retention, selection=selection, placement=HostResident(False), reuse="none")
