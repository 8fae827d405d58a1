"""A Llama in a folder as Hugging Face stores it: config.json, tokenizer.json and *.safetensors."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from kernels_ref.quality.bpe import of
from kernels_ref.quality.source import Source
from kvsim.errors import UserError
from kvsim.modelimport import import_config

# The format's own names of dtypes (github.com/huggingface/safetensors, README).
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_folder(folder: Path) -> Source:
    """The model of a folder.

    Raises:
        UserError: a file is missing or is not what its name says, or positions are scaled, which is not modelled.
    """
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: must hold a GGUF file, or config.json, tokenizer.json and *.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if config.get("rope_scaling"):
        raise UserError(f"{folder}/config.json: rope_scaling is not modelled; take a model without it")
    stored = [entry for path in sorted(folder.glob("*.safetensors")) for entry in _entries(path)]
    if not stored:
        raise UserError(f"{folder}: holds no *.safetensors")
    tensors = {name: (path, start, about) for name, path, start, about in stored}

    def named(name: str) -> torch.Tensor:
        if name not in tensors:
            raise UserError(f"{folder}: no *.safetensors holds {name}")
        return _tensor(*tensors[name])

    encode, decode = of(Tokenizer.from_file(str(folder / "tokenizer.json")))
    theta, eps = float(config.get("rope_theta", 10_000.0)), float(config.get("rms_norm_eps", 1e-5))
    return Source(import_config(folder / "config.json"), theta, eps, named, encode, decode)


def _entries(path: Path) -> list[tuple[str, Path, int, dict[str, Any]]]:
    """(name, file, where its data begins, what the header says) of each tensor."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size))
        except ValueError:
            raise UserError(f"{path}: is no safetensors file") from None
    return [(name, path, 8 + size, about) for name, about in header.items() if name != "__metadata__"]


def _tensor(path: Path, start: int, about: dict[str, Any]) -> torch.Tensor:
    if about["dtype"] not in _DTYPES:
        raise UserError(f"{path}: weights must be of {', '.join(_DTYPES)}, but got {about['dtype']}")
    kind, (first, last), shape = _DTYPES[about["dtype"]], about["data_offsets"], about["shape"]
    raw = np.fromfile(path, np.uint8, last - first, offset=start + first)
    return torch.from_numpy(raw).view(kind).reshape(shape).float() if math.prod(shape) else torch.zeros(shape)
