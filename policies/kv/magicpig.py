"""MagicPIG: LSH Sampling for Efficient LLM Generation. arXiv:2410.16179, Infini-AI-Lab/MagicPIG.

Keys, values and LSH tables rest in host DRAM. A step hashes its queries on the GPU; processors attend to the keys that
collide in enough tables and weigh them by their chance to; sinks, the newest tokens and two layers stay on the GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kvsim.traits.elsewhere import OnHost
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.profile import Figure, assumed


@dataclass(frozen=True)
class Magicpig(Paper):
    """bits, tables: of SimHash (repository: 10 and 150); sample: share of tokens that a query head reads (paper: a few
    percent; 0: the profile's); sinks, local: tokens on the GPU (repository: 4 and 64); dense_layers: layers on the GPU
    (paper: 0 and 16 of an 8B model); numa_aware: each socket attends to the heads in its own memory; threads: of the
    host, 0 for one a core."""

    bits: int = 10
    tables: int = 150
    sample: float = 0.0
    sinks: int = 4
    local: int = 64
    dense_layers: int = 2
    numa_aware: bool = True
    threads: int = 0

    title = "MagicPIG"
    arxiv = "2410.16179"
    repo = "Infini-AI-Lab/MagicPIG"
    above_full = "hash tables"
    figures = MappingProxyType({"tokens_sampled": assumed(0.025)})

    def __post_init__(self) -> None:
        for name in ("bits", "tables"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("sinks", "local", "dense_layers", "threads"):
            require(getattr(self, name) >= 0, f"{name} must be at least 0, but got {getattr(self, name)}")
        require(self.bits <= 16, f"bits must be at most 16 (a table's hash), but got {self.bits}")
        require(0 <= self.sample <= 1, f"sample must be in [0, 1], but got {self.sample}")

    def profile(self) -> Mapping[str, Figure]:
        """What is sampled depends on data, unless it is given."""
        return {} if self.sample else super().profile()

    def traits(self, fidelity: Fidelity) -> Traits:
        """Tables are built per request, so prefixes are not shared."""
        sample = self.sample or self.profile()["tokens_sampled"].mean
        placement = OnHost(
            self.bits, self.tables, sample, self.sinks, self.local, self.dense_layers, self.numa_aware, self.threads
        )
        return Traits(placement=placement, reuse="none")
