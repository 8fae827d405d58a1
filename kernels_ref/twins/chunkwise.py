"""Chunk by chunk with the question behind each: what it attends to is carried on (Finch, arXiv:2408.00167)."""

from dataclasses import replace

import torch
from torch import Tensor

from kernels_ref.twins.attention import attend, causal
from kernels_ref.twins.part import part_of
from kernels_ref.twins.prefill import AllPass
from kernels_ref.twins.states import LayerStates, States, rotate
from kvsim.traits.chunkwise import Chunkwise


@part_of(Chunkwise)
class ChunkByChunk(AllPass):
    """Algorithm 1. After each chunk a layer carries on its share of the capacity: capacity x read / document tokens.

    They are those to which the question's queries attend most, mean over queries and heads; all kv heads of a layer
    keep the same. Their keys are rotated to the positions just before the question.
    """

    in_loop = False

    def read(self, dense: States) -> States:
        """What is left of each layer; all where the document fits the capacity."""
        if len(dense) - self.trait.question <= self.trait.capacity:
            return dense
        return replace(dense, layers=tuple(self._carried(layer, dense.turns) for layer in dense.layers))

    def _carried(self, layer: LayerStates, turns: tuple[Tensor, Tensor]) -> LayerStates:
        total, asking = layer.keys.shape[1], self.trait.question
        document, capacity = total - asking, self.trait.capacity
        question = torch.arange(document, total, device=layer.keys.device)
        kept = question[:0]
        for start in range(0, document, self.trait.chunk):
            stop = min(start + self.trait.chunk, document)
            here = torch.cat([kept, torch.arange(start, stop, device=kept.device)])
            many = capacity * stop // document
            if len(here) > many:
                seen = torch.cat([here, question])
                keys = layer.keys[:, seen]
                shares = attend(layer.queries[:, question], keys, keys[..., :1], causal(question, seen), None)[1]
                here = here[shares.mean((0, 1))[: len(here)].topk(many).indices.sort().values]
            kept = here
        left = layer.take(torch.cat([kept, question]))
        at = torch.arange(document - capacity, document, device=kept.device)
        keys = torch.cat([rotate(layer.raw_keys[:, kept], at, turns), layer.keys[:, question]], 1)
        return replace(left, keys=keys)

    def notes(self) -> tuple[str, ...]:
        """Where a chunk is read otherwise."""
        return (
            "Finch: rows are of a prompt that was read whole; each chunk's question stands where the prompt's does",
        )
