"""A tiny random Llama that reads bytes. It says nothing about quality: it shows that the arithmetic is right."""

import torch

from kernels_ref.executor.shape import shape_of
from kernels_ref.executor.weights import drawn
from kernels_ref.quality.language import Language, on_device
from kernels_ref.quality.source import Source
from kvsim import find


def language(layers: int = 2) -> Language:
    model = find.model("smollm2-135m").model_copy(
        update={"layers": layers, "hidden": 96, "heads": 6, "kv_heads": 3, "head_dim": 16, "ffn": 64, "vocab": 256}
    )
    named = drawn(shape_of(model, dtype=torch.float32), "cpu", seed=1)
    source = Source(
        model,
        10_000.0,
        1e-5,
        named,
        lambda text: list(text.encode()),
        lambda ids: bytes(ids).decode(errors="replace"),
    )
    return on_device(source, "cpu", 4096)
