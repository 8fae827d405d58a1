"""Votes of an observation window: scorers that let the prompt's last queries choose, once the prompt is complete."""

from dataclasses import dataclass

import numpy as np

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import elementwise, gemm, host_sync
from kvsim.cost.op import Op
from kvsim.traits.scorers import Scorer
from kvsim.traits.trait import End


@dataclass(frozen=True)
class WindowVotes(Scorer):
    """SnapKV: the last `window` queries of the prompt vote, votes are pooled over `pool` neighbours. The window stays.

    Attributes:
        passes: times that scores are read or written on the way to votes.
        blocks: whole blocks of so many tokens are chosen (WindowKV).
        shared_layers: layers that reuse one layer's choice, which then costs each a part.
        syncs_per_token: times that the host waits for a score of a token (released code that loops over blocks).
    """

    window: int
    pool: int = 5
    passes: int = 3
    blocks: int = 1
    shared_layers: int = 1
    syncs_per_token: float = 0.0
    by_head = True

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """Window queries against all keys, softmax and pooling over their scores, top-k."""
        window = np.minimum(self.window, end.prompt)
        rows, keys = window * geo.queries_per_kv_head, end.prompt * geo.kv_heads
        count = end.due(kind) / self.shared_layers
        moved = 4.0 * geo.query_heads * window * end.prompt * self.passes
        ops = [
            gemm("window_scores", rows, keys, geo.key_dim, count=count),
            elementwise("window_votes", moved, launches=5, count=count),
        ]
        if self.syncs_per_token:
            ops.append(host_sync("read_scores", end.prompt * self.syncs_per_token, count))
        return ops


@dataclass(frozen=True)
class VotesAndSpread(WindowVotes):
    """CAKE: mean votes plus `gamma` x their variance; a layer's share follows entropy^(1/tau1) x variance^(1/tau2).

    Attributes:
        syncs: times that the host reads a layer's figures (released code: `.cpu().numpy()`).
    """

    tau1: float = 1.0
    tau2: float = 1.0
    gamma: float = 200.0
    syncs: int = 0

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The votes, their entropy and variance, and the earlier layers' rows moved as budgets shrink."""
        window = np.minimum(self.window, end.prompt)
        spread = elementwise("spread", 4.0 * geo.query_heads * window * end.prompt * 2, 4, end.due(kind))
        ops = [*super().end_ops(geo, kind, end), spread, elementwise("cascade", end.kept_bytes, 2, end.due(kind))]
        if self.syncs:
            ops.append(host_sync("read_preference", self.syncs, end.due(kind)))
        return ops


@dataclass(frozen=True)
class HeadBits(WindowVotes):
    """KVCrush: a token's bits say which heads keep it; bits far and near an anchor give buckets, one token each.

    Attributes:
        share: of the budget that such representatives fill. anchor: mean, alternate, random, zeros or ones.
    """

    share: float = 0.25
    anchor: str = "mean"
    by_head = False

    def end_ops(self, geo: Geometry, kind: LayerKind, end: End) -> list[Op]:
        """The votes, then a bit a head and token, and Hamming distances to the anchor."""
        bits = end.prompt * (geo.query_heads / 8.0)
        return [
            *super().end_ops(geo, kind, end),
            elementwise("head_bits", end.prompt * 4.0 * geo.query_heads + bits, 2, end.due(kind)),
            elementwise("bucket_by_distance", bits + end.prompt * 12.0, 3, end.due(kind)),
        ]
