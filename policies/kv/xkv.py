"""xKV: Cross-Layer SVD for KV-Cache Compression. arXiv:2503.18893, abdelfattah-lab/xKV.

After the prompt, keys (before RoPE) and values of a group of layers are factored together: one narrow row a token for
all of them, and bases that each sequence holds. Generated tokens stay as they are. Ranks are of Llama-3.1-8B; 512 for
MLA.
"""

from dataclasses import dataclass

from kvsim.traits.classes import Phases
from kvsim.traits.policy import Fidelity, Paper, Traits, require
from kvsim.traits.quantizers import Simulated
from kvsim.traits.shared_layers import GroupFactors, LayerGroups


@dataclass(frozen=True)
class Xkv(Paper):
    """key_rank, value_rank: numbers of a row (384 and 576; README also 512 and 768); group: layers factored together
    (4).
    """

    key_rank: int = 384
    value_rank: int = 576
    group: int = 4

    title = "xKV"
    arxiv = "2503.18893"
    repo = "abdelfattah-lab/xKV"
    knob = ("key_rank", "value_rank")
    above_full = "bases that each sequence holds"

    def __post_init__(self) -> None:
        for name in ("key_rank", "value_rank", "group"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")

    def traits(self, fidelity: Fidelity) -> Traits:
        """Published code factors and multiplies back, and stores full rows."""
        if fidelity == "published":
            return Traits(quantizer=Simulated(), reuse="none")
        basis = GroupFactors(self.key_rank, self.value_rank, self.group)
        return Traits(retention=Phases(), basis=basis, sharing=LayerGroups(self.group), reuse="none")
