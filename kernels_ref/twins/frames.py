"""Frames: a question recalls the few whose mean keys are nearest, once (ReKV, arXiv:2503.00540, section 3.2)."""

import torch
from torch import Tensor

from kernels_ref.twins.choosing import Choosing, grouped, packed
from kernels_ref.twins.part import part_of
from kernels_ref.twins.slots import Slots
from kernels_ref.twins.states import States
from kvsim.traits.frames import Frames


@part_of(Frames)
class NearestFrames(Choosing):
    """Each layer compares the question's mean query with frames' mean keys by cosine, all heads side by side."""

    def prepare(self, states: States, slots: list[Slots]) -> None:
        """The question, and the frames that it recalls [frames] in each layer."""
        asking = states.question or min(self.trait.recent, len(states))
        self.recalled = []
        for layer, one in zip(states.layers, slots, strict=True):
            rows, _ = packed(one)
            means = self.means(rows)
            asked = grouped(layer.queries[:, -asking:].mean(1, keepdim=True), len(means)).mean(1)[:, 0]
            unit = torch.nn.functional.normalize(means.transpose(0, 1).flatten(1), dim=1)
            cosine = unit @ asked.flatten()
            self.recalled.append(cosine.topk(min(self.trait.frames, len(cosine))).indices)

    def means(self, rows: Slots) -> Tensor:
        """Mean keys [Hk, frames, D] of whole frames."""
        each, many = self.trait.frame_tokens, int(rows.counts.min()) // self.trait.frame_tokens
        return rows.key[:, : many * each].reshape(len(rows.key), many, each, rows.key.shape[2]).mean(2)

    def choose(self, layer: int, queries: Tensor, rows: Slots) -> Tensor | None:
        """Those frames, the first and the newest tokens: the same for all queries."""
        order = torch.arange(rows.position.shape[1], device=rows.position.device)
        framed = torch.isin(order // self.trait.frame_tokens, self.recalled[layer])
        newest = order >= rows.counts[:, None] - self.trait.recent
        first = order < self.trait.first
        return ((framed | first | newest) & rows.valid)[:, None].expand(-1, queries.shape[1], -1)

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """A 16-bit mean key a frame."""
        return [self.means(packed(slots)[0]).half()]

    def notes(self) -> tuple[str, ...]:
        """A text is no video."""
        each = self.trait.frame_tokens
        return (f"ReKV: blocks of {each} text tokens stand in for frames, the prompt's question for a video's",)
