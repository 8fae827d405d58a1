"""SentenceKV: Efficient LLM Inference via Sentence-Level Semantic KV Caching. arXiv:2504.00970.

A prompt is cut to candidates by its last queries' votes; they rest in host DRAM by sentence, with a mean key for each
sentence on the chip. A step recalls the best sentences' tokens. Code: zzbright1998/SentenceKV. Rows go to the host as
chunks are read; the released code reads a prompt in one piece and sends the candidates alone.
"""

from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.budgeted import Budgeted
from kvsim.traits.budgets import Budget
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import assumed
from kvsim.traits.recalled import Recalled
from kvsim.traits.sentences import Sentences
from kvsim.traits.votes import WindowVotes


@dataclass(frozen=True)
class Sentencekv(Paper):
    """budget: tokens that a step chooses (repository: 128); factor: candidates are so many times as many (5); start:
    first tokens that are always read (32); recent: newest tokens that are (32); window: last queries that vote (32);
    pool: neighbours that share votes (7).
    """

    budget: int = 128
    factor: int = 5
    start: int = 32
    recent: int = 32
    window: int = 32
    pool: int = 7

    title = "SentenceKV"
    arxiv = "2504.00970"
    repo = "zzbright1998/SentenceKV"
    knob = "budget"
    above_full = "mean keys"
    figures = MappingProxyType({"sentence_tokens": assumed(20.0, spread=0.5), "misses": assumed(0.3, spread=0.5)})

    def __post_init__(self) -> None:
        for name in ("budget", "factor", "window", "pool"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("start", "recent"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Released code caches, chooses and recalls for every query head, and loops over heads on the host."""
        published, profile = fidelity == "published", self.profile()
        always, tokens = self.start + self.recent, profile["sentence_tokens"].mean
        candidates = Budget(self.budget * self.factor + always)
        votes = WindowVotes(self.window, self.pool)
        return Traits(
            retention=Budgeted(candidates, votes, sinks=self.start, recent=self.recent, repeat_heads=published),
            selection=Sentences(self.budget, always, tokens, profile["misses"].mean, published),
            placement=Recalled(always + self.budget),
            reuse="none",
        )
