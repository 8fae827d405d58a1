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


def grid(models: Sequence[str]) -> list[Case]:
    """All cases, the most telling first."""
    cases = []
    for number, model in enumerate(models):
        few = slice(None) if number == 0 else slice(None, None, 2)
        mine = [Case(model, "full", _decode(*shape)) for shape in DECODES[few]]
        mine += [Case(model, "full", decodes) for decodes in RAGGED]
        mine += [Case(model, "full", (), chunks) for chunks in PREFILLS[few]]
        mine += [Case(model, "full", decodes, chunks) for decodes, chunks in MIXED[few]]
        cases += mine
    return cases


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
    return [*cases, Case(str(path), "full", _decode(2, 40), ((9, 20),))]
