"""The steps that `kernels_ref.executor.steps` times: batches and contexts of its own, used for no calibration."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Decodes = tuple[int, int, int]  # (sequences, context after the step, prompt)
Chunk = tuple[int, int]  # (new tokens, past tokens)


@dataclass(frozen=True)
class Case:
    """One step of one model under one policy; `block` tokens a page."""

    model: str
    policy: str
    decodes: tuple[Decodes, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    block: int = 16

    @property
    def longest_decode(self) -> int:
        """The longest context that decodes."""
        return max((context for _, context, _ in self.decodes), default=0)

    @property
    def longest(self) -> int:
        """The longest context of all."""
        return max(self.longest_decode, *(new + past for new, past in self.chunks), 1)

    @property
    def phase(self) -> str:
        """prefill, decode or mixed."""
        return "mixed" if self.decodes and self.chunks else "decode" if self.decodes else "prefill"

    def columns(self) -> dict[str, object]:
        """What names it in a table: decodes as `8x2048/2000` (batch, context, prompt), chunks as `512@1024` (past)."""
        return {
            "model": self.model,
            "policy": self.policy,
            "block": self.block,
            "phase": self.phase,
            "decodes": "+".join(f"{n}x{context}/{prompt}" for n, context, prompt in self.decodes),
            "chunks": "+".join(f"{new}@{past}" for new, past in self.chunks),
        }


def _decode(batch: int, context: int) -> tuple[Decodes, ...]:
    return ((batch, context, max(1, context - 75)),)


DECODES = (
    (1, 1900), (5, 700), (11, 2900), (11, 350), (22, 1100), (45, 1900), (45, 450), (90, 900), (150, 1500), (60, 3300),
    (3, 23000), (1, 90000), (24, 6100), (200, 600),
)  # fmt: skip
RAGGED = (((7, 300, 200), (9, 1700, 1600), (4, 5200, 5000)), ((30, 260, 200), (20, 900, 800), (2, 14000, 13900)))
PREFILLS = (
    ((1950, 0),), ((1030, 0),), ((3900, 0),), ((7600, 0),), ((1500, 6000),), ((1930, 14000),), ((480, 0),) * 4,
    ((950, 0), (700, 1200)), ((510, 0),), ((200, 0),),
)  # fmt: skip
MIXED = (
    (_decode(11, 1700), ((1960, 0),)),
    (_decode(48, 1100), ((1990, 4000),)),
    (_decode(24, 5200), ((1480, 500),)),
    (_decode(90, 700), ((990, 0), (900, 0))),
    (_decode(6, 2600), ((430, 0),)),
    (_decode(30, 1500), ((1000, 20000),)),
)


KEPT: dict[str, tuple[tuple[Decodes, ...], ...]] = {
    "fp8": (_decode(11, 2900), _decode(45, 1900), _decode(3, 23000), _decode(150, 1500), _decode(24, 6100)),
    "kivi": (_decode(11, 2900), _decode(45, 1900), _decode(3, 23000), _decode(150, 1500), _decode(24, 6100)),
    "kivi:bits=4": (_decode(22, 1100), _decode(24, 6100)),
    "streaming": (_decode(11, 2900), _decode(45, 900), _decode(150, 5000), _decode(24, 9000)),
    "snapkv": (_decode(11, 2900), _decode(45, 1900), _decode(150, 6000), _decode(3, 23000)),
    "snapkv:capacity=512": (_decode(60, 3300), _decode(24, 1100)),
    "h2o": (_decode(11, 2900), _decode(45, 1900), _decode(24, 6100), _decode(90, 900)),
}
KEPT_PREFILLS = (((1950, 0),), ((1500, 6000),), ((3900, 0),))
KEPT_MIXED = ((_decode(11, 1700), ((1960, 0),)), (_decode(24, 5200), ((1480, 500),)))
HOSTED = {"offload": 5, "headinfer": 5, "headinfer:heads=2": 4, "headinfer:heads=8": 2}
HOSTED_DECODES = (_decode(1, 130900), _decode(1, 16200), _decode(1, 65000), _decode(1, 33000), _decode(4, 9000))
HOSTED_CHUNKS = (((1930, 14000),), ((1700, 0),))
BLOCKS = {"kivi": 128}


def _of_policy(model: str, text: str, every: int) -> list[Case]:
    block = BLOCKS.get(text.split(":")[0], 16)
    cases = [Case(model, text, decodes, (), block) for decodes in KEPT[text][::every]]
    if ":" in text:
        return cases
    cases += [Case(model, text, (), chunks, block) for chunks in KEPT_PREFILLS[::every]]
    return cases + [Case(model, text, decodes, chunks, block) for decodes, chunks in KEPT_MIXED[::every]]


def _hosted(model: str) -> list[Case]:
    cases = []
    for text, few in HOSTED.items():
        cases += [Case(model, text, decodes) for decodes in HOSTED_DECODES[:few]]
        cases += [Case(model, text, (), chunks) for chunks in HOSTED_CHUNKS] if ":" not in text else []
    return cases


def _full(model: str, every: int) -> list[Case]:
    cases = [Case(model, "full", _decode(*shape)) for shape in DECODES[::every]]
    cases += [Case(model, "full", decodes) for decodes in RAGGED[::every]]
    cases += [Case(model, "full", (), chunks) for chunks in PREFILLS[::every]]
    return cases + [Case(model, "full", decodes, chunks) for decodes, chunks in MIXED[::every]]


def grid(models: Sequence[str]) -> list[Case]:
    """All cases: of the first model every policy, of others about half of it; what matters least comes last."""
    first, *others = models
    cases = _full(first, 1) + [case for text in KEPT for case in _of_policy(first, text, 1)] + _hosted(first)
    later = []
    for model in others:
        cases += _full(model, 2)
        later = [case for text in KEPT if ":" not in text for case in _of_policy(model, text, 2)] + later
    return [*cases, *later]


TINY = """\
name: tiny
layers: 2
hidden: 64
heads: 4
kv_heads: 2
head_dim: 32
ffn: 96
vocab: 64
max_context: 4096
dtype: fp16
"""


def tiny_grid(folder: Path) -> list[Case]:
    """A few cases of a model that is written into `folder`."""
    path = folder / "tiny.yaml"
    path.write_text(TINY, encoding="utf-8")
    shapes = (_decode(3, 50), ((2, 20, 17), (1, 70, 60)))
    cases = [Case(str(path), "full", shape) for shape in shapes]
    cases += [Case(str(path), "full", (), ((18, 0), (6, 20)))]
    others = ["fp8", "streaming:window=30", "snapkv:capacity=20:window=4", "h2o"]
    for text in [*others, "offload", "headinfer", "headinfer:heads=2"]:
        cases.append(Case(str(path), text, _decode(2, 40), ((9, 20),)))
    return [*cases, Case(str(path), "kivi", ((2, 140, 100),), ((9, 20),), 128)]
