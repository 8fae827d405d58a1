"""A language model on a device: the executor's own decoder in plain Torch, in float32."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.shape import Shape, shape_of
from kernels_ref.executor.weights import from_named
from kernels_ref.quality.source import Source, opened
from kernels_ref.twins.states import Projections
from kvsim.specs.model import Model


@dataclass(frozen=True)
class Language:
    """A model that reads text. Full precision, so that what differs is the cache's doing."""

    source: Source
    decoder: Decoder

    @property
    def model(self) -> Model:
        """Its spec."""
        return self.source.model

    @property
    def shape(self) -> Shape:
        """Its shape on one chip."""
        return self.decoder.shape

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.decoder.device

    def tokens(self, text: str) -> torch.Tensor:
        """Ids [T] int64 of a text, on the device."""
        return self.ids(self.source.encode(text))

    def ids(self, ids: Sequence[int]) -> torch.Tensor:
        """Ids as a tensor on the device."""
        return torch.tensor(list(ids), dtype=torch.int64, device=self.device)

    def text(self, ids: torch.Tensor) -> str:
        """What ids say."""
        return self.source.decode(ids.tolist())

    def pieces(self, ids: torch.Tensor) -> list[str]:
        """What each id says."""
        return [self.source.decode([i]) for i in ids.tolist()]

    def projections(self) -> tuple[Projections, ...]:
        """Views of each layer's weights, float32."""
        shape = self.shape
        sizes = [shape.heads * shape.dim, shape.kv_heads * shape.dim, shape.kv_heads * shape.dim]
        return tuple(Projections(*layer.qkv.split(sizes), layer.o) for layer in self.decoder.weights.layers)


def language(folder: Path | None = None, device: str = "cpu", positions: int = 8192) -> Language:
    """The model in `folder`, or SmolLM2-135M-Instruct, for texts of up to `positions` tokens.

    Raises:
        UserError: it is not there, or is no Llama.
    """
    return on_device(opened(folder), device, positions)


def on_device(source: Source, device: str, positions: int) -> Language:
    """A source's weights on a device."""
    shape = shape_of(source.model, dtype=torch.float32)
    shape = replace(shape, rope_theta=source.rope_theta, norm_eps=source.norm_eps)
    weights = from_named(shape, source.named, device)
    return Language(source, Decoder(shape, weights, positions, fused=False))
