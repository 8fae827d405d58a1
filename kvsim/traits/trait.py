"""What every trait may add to a policy: bytes beside those of tokens, layers priced apart, and the Ops of a step.

Ops are built from sums over a batch, of one layer of a kind; they must be affine in those sums, because the engine
prices a batch by its sums alone. `count` is the kind's layers.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.op import Num, Op


@dataclass(frozen=True)
class Decode:
    """A decode step in one layer of a kind, summed over its sequences; kv heads are summed too.

    Attributes:
        sequences: each decodes one token.
        tokens: head-tokens that attention reads.
        kv_bytes: cache bytes that it reads.
        work: plain-core instructions that turn what it reads into operands.
        rebuilt: of those head-tokens, the ones that are stored in another basis.
        kept: head-tokens that rest in the cache; more than `tokens` where a selection reads a part.
        scanned: index entries that a selection compares with the queries.
    """

    sequences: Num
    tokens: Num
    kv_bytes: Num
    work: Num
    rebuilt: Num
    kept: Num
    scanned: Num = 0


@dataclass(frozen=True)
class Chunk:
    """A prefill chunk in one layer of a kind: new tokens, query-key pairs of one head, past tokens attended to."""

    new: Num
    pairs: Num
    past: Num


@dataclass(frozen=True)
class End:
    """A prompt is complete. Of one layer of a kind; figures may be arrays over prompts.

    Attributes:
        prompt: its tokens.
        kv_bytes: of its cache when all of it is there.
        kept: head-tokens that stay. kept_bytes: their bytes.
    """

    prompt: Num
    kv_bytes: Num
    kept: Num
    kept_bytes: Num

    def due(self, kind: LayerKind) -> Any:
        """The kind's layers where anything of the prompt goes, else 0: how often its Ops take place."""
        return kind.layers * (np.asarray(self.kept) < np.asarray(self.prompt) * sum(kind.heads)).astype(np.int64)[()]


@dataclass(frozen=True)
class Trait:
    """Adds nothing: the null answer to each question."""

    def label(self, geo: Geometry, layer: int) -> Hashable:
        """Layers with other labels are other kinds, which are priced apart."""
        return None

    def static_bytes(self, geo: Geometry) -> int:
        """Bytes once a chip: codebooks, trained weights, filters."""
        return 0

    def sequence_bytes(self, geo: Geometry) -> int:
        """Bytes of HBM once a sequence, all layers of this chip."""
        return 0

    def more_launches(self, geo: Geometry, kind: LayerKind) -> float:
        """Attention kernels of a decode step in a layer, beyond the first."""
        return 0.0

    def decode_ops(self, geo: Geometry, kind: LayerKind, sums: Decode) -> list[Op]:
        """Ops that a decode step adds."""
        return []

    def chunk_ops(self, geo: Geometry, kind: LayerKind, chunk: Chunk) -> list[Op]:
        """Ops that a prefill chunk adds."""
        return []

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Ops when a prompt is complete. Figures may be arrays: a count of 0 takes an Op away where it is not due."""
        return []
