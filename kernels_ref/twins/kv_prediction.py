"""A predicted cache: linear maps of an auxiliary model's keys and values (KV Prediction, arXiv:2410.08391)."""

from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.states import LayerStates, States, rotate
from kvsim.traits.kv_prediction import PredictedCache

RIDGE = 1e-3  # of the mean square of what is mapped


@part_of(PredictedCache)
class Mapped(AllPass):
    """Section 3: keys (before rotary embedding) and values of each layer are maps of those of an auxiliary one.

    The auxiliary model's n layers are the model's own first: layer i is a map of layer min(i, n - 1). The paper spreads
    a trained auxiliary model's layers evenly; an untrained one's shallow layers say little about deep ones.
    Maps are least squares with a ridge on the calibration text (else the prompt); the paper trains them with the
    auxiliary model, by the same distance between caches and the next token's loss.
    """

    in_loop = False

    def read(self, dense: States) -> States:
        """All rows as they are predicted."""
        text, layers = self.setting.calibration or dense, len(dense.layers)
        many = max(1, round(self.trait.layers * layers))
        found = []
        for i, layer in enumerate(dense.layers):
            source = min(i, many - 1)
            predicted = {}
            for name in ("raw_keys", "values"):
                known, from_, wanted = (
                    _rows(getattr(one, name)) for one in (text.layers[source], dense.layers[source], text.layers[i])
                )
                predicted[name] = _heads(from_ @ ridge(known, wanted), getattr(layer, name))
            found.append(self._rotated(layer, predicted, dense))
        return replace(dense, layers=tuple(found))

    def _rotated(self, layer: LayerStates, predicted: dict[str, Tensor], dense: States) -> LayerStates:
        at = torch.arange(len(dense), device=layer.keys.device) + dense.first
        return replace(layer, keys=rotate(predicted["raw_keys"], at, dense.turns), **predicted)

    def notes(self) -> tuple[str, ...]:
        """Who reads the prompt."""
        return ("KV Prediction: the model's own first layers stand in for a trained auxiliary model of as many",)


def ridge(given: Tensor, wanted: Tensor) -> Tensor:
    """[I, O]: the map of rows [T, I] that comes nearest to rows [T, O], by least squares with a ridge."""
    square = given.T @ given
    size = RIDGE * square.diagonal().mean()
    return torch.linalg.solve(square + size * torch.eye(len(square), device=given.device), given.T @ wanted)


def _rows(heads: Tensor) -> Tensor:
    """[Hk, T, D] as [T, Hk D]."""
    return heads.transpose(0, 1).flatten(1)


def _heads(rows: Tensor, like: Tensor) -> Tensor:
    return rows.reshape(len(rows), len(like), -1).transpose(0, 1)
