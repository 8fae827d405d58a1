"""Papers' memory figures, counted twice: as the paper counts, and with everything that must be stored.

python benchmarks/catalogue.py prints the table of docs/policies.md.
"""

from dataclasses import dataclass, replace

import numpy as np

from kvsim import find
from kvsim.traits.layout import Layout
from kvsim.traits.policy import Policy, policy

GB = 1e9


def as_stated(text: str) -> Policy:
    """A policy with the figures that its papers state, whatever was measured since."""
    own = {name: figure for paper in policy(text).papers for name, figure in paper.figures.items()}
    return policy(text, profile=own)


@dataclass(frozen=True)
class Held:
    """One sequence under a policy: `context` tokens, of which `prompt` were read at once (0: all)."""

    policy: str
    model: str
    context: int
    prompt: int = 0

    @property
    def bytes(self) -> int:
        """Stored, metadata included, with the figures that papers themselves state."""
        layout = Layout(as_stated(self.policy), find.model(self.model), 1, 16)
        return int(layout.stored(np.array([self.prompt or self.context]), np.array([self.context]))[0])

    @property
    def full(self) -> int:
        """The same of the full cache."""
        return replace(self, policy="full").bytes

    @property
    def ratio(self) -> float:
        """How many times smaller than the full cache."""
        return self.full / self.bytes


@dataclass(frozen=True)
class Row:
    """One claim: what the paper says, what its way of counting gives, what is really stored, and why they differ.

    `held`: the sequence whose stored bytes the last figure is made of.
    """

    claim: str
    published: float
    counted: float
    stored: float
    unit: str
    why: str
    held: Held


def minicache() -> Row:
    """Half of the layers in pairs: 0.75 of the rows, at 4 bits with an fp16 scale and minimum a group of 128."""
    bits = 4 + 32 / 128
    held = Held("minicache+kivi:bits=4:group=128", "llama-2-7b", 100_000)
    counted, why = 16 / (bits * 0.75), "magnitudes, retained tokens"
    return Row("MiniCache, Llama-2-7B, 4 bits", 5.02, counted, held.ratio, "x", why, held)


def kvquant() -> Row:
    """Tokens that fit an 80 GB card beside fp16 weights: dense codes alone; with outliers, scales and tables."""
    model = find.model("llama-2-7b")
    room = 80 * GB - model.weight_bytes
    dense = Held("kvquant:bits=2:outliers=0:sinks=0", "llama-2-7b", 1 << 20)
    scales = 32 * 4 * (1 << 20)  # of the values' tokens, which the paper's 1M leaves out
    whole, why = replace(dense, policy="kvquant:bits=2"), "outliers, values' scales"
    tokens = [room * (1 << 20) / size / 1e6 for size in (dense.bytes - scales, whole.bytes)]
    return Row("KVQuant, LLaMA-7B on one A100 80 GB, 2 bits", 1.0, *tokens, "M tokens", why, whole)


def duoattention() -> Row:
    """Tokens that fit beside 8-bit weights: half of the heads at 4 bits; with streaming heads and recent rows too."""
    room = 80 * GB - find.model("llama-3-8b").model_copy(update={"dtype": "int8"}).weight_bytes
    per_token = 32 * 4 * 2 * (64 + 4)  # 128 channels at 4 bits, an fp16 scale and zero a group of 128
    many = 3_300_000
    whole = Held("duoattention+kivi:bits=4:group=128", "llama-3-8b", many)
    return Row(
        "DuoAttention, Llama-3-8B on one A100 80 GB, 4 bits",
        3.3,
        room / per_token / 1e6,
        room * many / whole.bytes / 1e6,
        "M tokens, at most",
        "streaming heads, 16-bit windows",
        whole,
    )


def cskv() -> list[Row]:
    """Kept width 0.2; with 4-bit codes on it."""
    plain = Held("cskv", "llama-2-7b", 32_768)
    coded = replace(plain, policy="cskv+kivi:bits=4:group=32:residual=32")
    saved = [100 * (1 - 1 / held.ratio) for held in (plain, coded)]
    return [
        Row("CSKV, kept width 20 %", 80, 80, saved[0], "% saved", "the full-width window", plain),
        Row("CSKV with 4 bits", 95, 100 * (1 - 0.2 * 4 / 16), saved[1], "% saved", "scales, both windows", coded),
    ]


def xkv() -> list[Row]:
    """Rows of 384 + 576 numbers for four layers of 2 x 1024; latents of 512 + 64 for four layers."""
    llama = Held("xkv", "llama-3-8b", 65_536)
    latent = Held("xkv:key_rank=512", "deepseek-v2-lite", 65_536)
    why, claim = "bases, at 64K", "xKV, Llama-3.1-8B, ranks 384 and 576"
    return [
        Row(claim, 8, 4 * 2048 / 960, llama.ratio, "x", why, llama),
        Row("xKV on MLA, rank 512", 3, 576 / (512 / 4 + 64), latent.ratio, "x", why, latent),
    ]


def mla() -> Row:
    """DeepSeek-V2-Lite's latent against the same heads with full keys and values."""
    model = find.model("deepseek-v2-lite")
    assert model.latent
    heads = model.heads * (model.head_dim + model.latent.value_dim)
    full = Held("full", "deepseek-v2-lite", 4096)
    stored = heads * 2 * model.layers * 4096 / full.bytes
    claim = "MLA, DeepSeek-V2-Lite against its heads' keys and values"
    return Row(claim, heads / 576, heads / 576, stored, "x", "nothing", full)


def zipcache() -> Row:
    """60 % at 4 bits, 40 % at 2."""
    held = Held("zipcache", "mistral-7b", 840)
    return Row("ZipCache, Mistral-7B", 4.98, 16 / 3.2, held.ratio, "x", "scales, scores; at 840", held)


def kivi() -> Row:
    """Peak memory of the speed test: 160 + 338 tokens, as many sequences as fill 80 GB at 16 bits."""
    model, held = find.model("llama-2-7b"), Held("kivi:residual=128", "llama-2-7b", 498, 160)
    many = int((80 * GB - model.weight_bytes) / held.full)
    full, paper, ours = (
        model.weight_bytes + many * size
        for size in (held.full, replace(held, policy="kivi:residual=32").bytes, held.bytes)
    )
    claim, why = "KIVI, Llama-2-7B, peak with weights, 498 tokens", "the repository's window of 128 (counted: 32)"
    return Row(claim, 2.6, full / paper, full / ours, "x", why, held)


def rotatekv() -> Row:
    """Peak memory with weights: 2.25 bits are 7.1x on the cache alone; 3.97x needs a cache of 6.7 times the weights."""
    model = find.model("llama-2-7b")
    alone = 16 / (2 + 32 / 128)
    cache = (3.97 - 1) * model.weight_bytes / (1 - 3.97 / alone)  # the cache that makes it 3.97x
    held, why = Held("rotatekv", "llama-2-7b", 4096), "20 sinks at 16 bits, at 4K"
    peak = (model.weight_bytes + cache) / (model.weight_bytes + cache / held.ratio)
    counted = (model.weight_bytes + cache) / (model.weight_bytes + cache / alone)
    return Row("RotateKV, peak with weights, cache solved for", 3.97, counted, peak, "x", why, held)


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
