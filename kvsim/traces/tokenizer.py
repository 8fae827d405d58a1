"""Text to tokens, by a tokenizer of the user's choice: `chars:4`, a tokenizer.json, or a name that tiktoken knows."""

from collections.abc import Callable, Sequence
from pathlib import Path

from kvsim.errors import UserError

Tokenizer = Callable[[str], Sequence[int]]
_CHARS = "chars:"
FILE = "tokenizer.json"
_CHOICES = "`chars:4` (a token each 4 characters), a tokenizer.json, or a name that tiktoken knows, such as o200k_base"


def tokenizer(name: str) -> Tokenizer:
    """The tokenizer that `name` stands for.

    Raises:
        UserError: there is none, it cannot be loaded, or the library that it needs is not installed.
    """
    if name.startswith(_CHARS):
        return _by_characters(name)
    path = Path(name)
    if path.is_dir():
        path /= FILE
    if path.is_file():
        return _from_file(path)
    if "/" in name or path.suffix == ".json":  # gpt-3.5-turbo is a name
        raise UserError(f"tokenizer {name}: no such file; expected {_CHOICES}")
    return _by_name(name)


def _by_characters(name: str) -> Tokenizer:
    digits = name.removeprefix(_CHARS)
    if not (digits.isascii() and digits.isdigit() and 1 <= int(digits[:4]) <= 1000):
        raise UserError(f"tokenizer {name}: must be {_CHARS} and a number of characters from 1 to 1000")
    size = int(digits)
    tokens: dict[str, int] = {}

    def encode(text: str) -> list[int]:
        return [tokens.setdefault(text[at : at + size], len(tokens)) for at in range(0, len(text), size)]

    return encode


def _from_file(path: Path) -> Tokenizer:
    try:
        from tokenizers import Tokenizer as Fast
    except ImportError:
        raise _absent("tokenizers", str(path)) from None
    try:
        fast = Fast.from_file(str(path))
    except Exception as error:  # the library raises nothing more special
        raise UserError(f"tokenizer {path}: {str(error).splitlines()[0][:200]}") from None
    return lambda text: list(fast.encode(text, add_special_tokens=False).ids)


def _by_name(name: str) -> Tokenizer:
    try:
        import tiktoken
    except ImportError:
        raise _absent("tiktoken", name) from None
    known = tiktoken.list_encoding_names()
    try:
        encoding = tiktoken.get_encoding(name) if name in known else tiktoken.encoding_for_model(name)
    except KeyError:
        raise UserError(f"tokenizer {name}: unknown to tiktoken, which has {', '.join(known)}; or {_CHOICES}") from None
    except OSError as error:  # it is loaded from the net
        raise UserError(f"tokenizer {name}: cannot be loaded: {str(error)[:200]}") from None
    return lambda text: list(encoding.encode_ordinary(text))


def _absent(library: str, name: str) -> UserError:
    return UserError(
        f"tokenizer {name}: needs {library}, which is not installed: pip install 'kvsim[text]', or take chars:4"
    )
