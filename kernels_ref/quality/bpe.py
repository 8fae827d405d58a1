"""Byte-level BPE from a vocabulary and its merges, by the library `tokenizers`."""

from collections.abc import Callable, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

# How each pretokenizer of llama.cpp splits text before its bytes are merged (llama-vocab.cpp).
_LLAMA3 = "|".join(
    (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        r"\p{N}{1,%s}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def _split(pre: str) -> pre_tokenizers.PreTokenizer:
    if pre == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if pre == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    pattern = Regex(_LLAMA3 % (3 if pre == "llama-bpe" else 1))
    parts = pre_tokenizers.Split(pattern, "isolated")
    return pre_tokenizers.Sequence([parts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def tokenizer(
    tokens: Sequence[str], merges: Sequence[str], special: Sequence[int], pre: str
) -> tuple[Callable[[str], list[int]], Callable[[Sequence[int]], str]]:
    """(encode, decode). `special`: ids of tokens that are matched whole; `pre`: llama.cpp's name of a split."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    made = Tokenizer(models.BPE({text: i for i, text in enumerate(tokens)}, pairs))
    made.pre_tokenizer, made.decoder = _split(pre), decoders.ByteLevel()
    made.add_special_tokens([AddedToken(tokens[i], special=True, normalized=False) for i in special])
    return of(made)


def of(made: Tokenizer) -> tuple[Callable[[str], list[int]], Callable[[Sequence[int]], str]]:
    """(encode, decode) of a tokenizer; nothing is added to a text, nothing left out of it."""

    def encode(text: str) -> list[int]:
        return made.encode(text, add_special_tokens=False).ids

    def decode(ids: Sequence[int]) -> str:
        return made.decode(list(ids), skip_special_tokens=False)

    return encode, decode
