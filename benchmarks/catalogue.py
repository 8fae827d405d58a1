"""Papers' memory figures, counted twice: as the paper counts, and with everything that must be stored.

python benchmarks/catalogue.py prints the table of docs/policies.md.
"""

from dataclasses import dataclass

import numpy as np

from kvsim import find
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

GB = 1e9


@dataclass(frozen=True)
class Row:
    """One claim: what the paper says, what its way of counting gives, what is really stored, and why they differ."""

    claim: str
    published: float
    counted: float
    stored: float
    unit: str
    why: str


def held(text: str, model: str, context: int, prompt: int = 0) -> int:
    """Stored bytes of one sequence, metadata included."""
    layout = Layout(policy(text), find.model(model), 1, 16)
    return int(layout.stored(np.array([prompt or context]), np.array([context]))[0])


def ratio(text: str, model: str, context: int) -> float:
    """How many times smaller than the full cache."""
    return held("full", model, context) / held(text, model, context)


def minicache() -> Row:
    """Half of the layers in pairs: 0.75 of the rows, at 4 bits with an fp16 scale and minimum a group of 128."""
    bits = 4 + 32 / 128
    with_all = ratio("minicache+kivi:bits=4:group=128", "llama-2-7b", 100_000)
    return Row("MiniCache, Llama-2-7B, 4 bits", 5.02, 16 / (bits * 0.75), with_all, "x", "magnitudes, retained tokens")


def kvquant() -> Row:
    """Tokens that fit an 80 GB card beside fp16 weights: dense codes alone; with outliers, scales and tables."""
    model = find.model("llama-2-7b")
    room = 80 * GB - model.weight_bytes
    dense = held("kvquant:bits=2:outliers=0:sinks=0", "llama-2-7b", 1 << 20)
    scales = 32 * 4 * (1 << 20)  # of the values' tokens, which the paper's 1M leaves out
    whole = held("kvquant:bits=2", "llama-2-7b", 1 << 20)
    tokens = [room * (1 << 20) / size / 1e6 for size in (dense - scales, whole)]
    return Row("KVQuant, LLaMA-7B on one A100 80 GB, 2 bits", 1.0, *tokens, "M tokens", "outliers, values' scales")


def duoattention() -> Row:
    """Tokens that fit beside 8-bit weights: half of the heads at 4 bits; with streaming heads and recent rows too."""
    room = 80 * GB - find.model("llama-3-8b").model_copy(update={"dtype": "int8"}).weight_bytes
    per_token = 32 * 4 * 2 * (64 + 4)  # 128 channels at 4 bits, an fp16 scale and zero a group of 128
    many = 3_300_000
    whole = held("duoattention+kivi:bits=4:group=128", "llama-3-8b", many)
    return Row(
        "DuoAttention, Llama-3-8B on one A100 80 GB, 4 bits",
        3.3,
        room / per_token / 1e6,
        room * many / whole / 1e6,
        "M tokens, at most",
        "streaming heads, 16-bit windows",
    )


def cskv() -> list[Row]:
    """Kept width 0.2; with 4-bit codes on it."""
    context = 32_768
    plain = 1 - 1 / ratio("cskv", "llama-2-7b", context)
    coded = 1 - 1 / ratio("cskv+kivi:bits=4:group=32:residual=32", "llama-2-7b", context)
    return [
        Row("CSKV, kept width 20 %", 80, 80, 100 * plain, "% saved", "the full-width window"),
        Row("CSKV with 4 bits", 95, 100 * (1 - 0.2 * 4 / 16), 100 * coded, "% saved", "scales, both windows"),
    ]


def xkv() -> list[Row]:
    """Rows of 384 + 576 numbers for four layers of 2 x 1024; latents of 512 + 64 for four layers."""
    llama, latent = "llama-3-8b", "deepseek-v2-lite"
    return [
        Row(
            "xKV, Llama-3.1-8B, ranks 384 and 576", 8, 4 * 2048 / 960, ratio("xkv", llama, 65_536), "x", "bases, at 64K"
        ),
        Row(
            "xKV on MLA, rank 512",
            3,
            576 / (512 / 4 + 64),
            ratio("xkv:key_rank=512", latent, 65_536),
            "x",
            "bases, at 64K",
        ),
    ]


def mla() -> Row:
    """DeepSeek-V2-Lite's latent against the same heads with full keys and values."""
    model = find.model("deepseek-v2-lite")
    assert model.latent
    heads = model.heads * (model.head_dim + model.latent.value_dim)
    return Row(
        "MLA, DeepSeek-V2-Lite against its heads' keys and values",
        heads / 576,
        heads / 576,
        heads * 2 * model.layers * 4096 / held("full", "deepseek-v2-lite", 4096),
        "x",
        "nothing",
    )


def zipcache() -> Row:
    """60 % at 4 bits, 40 % at 2."""
    return Row(
        "ZipCache, Mistral-7B", 4.98, 16 / 3.2, ratio("zipcache", "mistral-7b", 840), "x", "scales, scores; at 840"
    )


def kivi() -> Row:
    """Peak memory of the speed test: 160 + 338 tokens, as many sequences as fill 80 GB at 16 bits."""
    model = find.model("llama-2-7b")
    many = int((80 * GB - model.weight_bytes) / held("full", "llama-2-7b", 498))
    peak = {
        text: model.weight_bytes + many * held(text, "llama-2-7b", 498, 160)
        for text in ("full", "kivi:residual=32", "kivi:residual=128")
    }
    return Row(
        "KIVI, Llama-2-7B, peak with weights, 498 tokens",
        2.6,
        peak["full"] / peak["kivi:residual=32"],
        peak["full"] / peak["kivi:residual=128"],
        "x",
        "the repository's window of 128 (counted: 32)",
    )


def rotatekv() -> Row:
    """Peak memory with weights: 2.25 bits are 7.1x on the cache alone; 3.97x needs a cache of 6.7 times the weights."""
    model = find.model("llama-2-7b")
    alone = 16 / (2 + 32 / 128)
    cache = (3.97 - 1) * model.weight_bytes / (1 - 3.97 / alone)  # the cache that makes it 3.97x
    many = cache / held("full", "llama-2-7b", 4096)
    peak = (model.weight_bytes + cache) / (model.weight_bytes + many * held("rotatekv", "llama-2-7b", 4096))
    counted = (model.weight_bytes + cache) / (model.weight_bytes + cache / alone)
    return Row("RotateKV, peak with weights, cache solved for", 3.97, counted, peak, "x", "20 sinks at 16 bits, at 4K")


def rows() -> list[Row]:
    """All of them."""
    return [minicache(), kvquant(), duoattention(), *cskv(), *xkv(), mla(), zipcache(), kivi(), rotatekv()]


def main() -> None:
    """Print the table."""
    print("| claim | published | as the paper counts | with all that is stored | unit | what makes the difference |")
    print("|---|--:|--:|--:|---|---|")
    for row in rows():
        figures = " | ".join(f"{figure:.2f}" for figure in (row.published, row.counted, row.stored))
        print(f"| {row.claim} | {figures} | {row.unit} | {row.why} |")


if __name__ == "__main__":
    main()
