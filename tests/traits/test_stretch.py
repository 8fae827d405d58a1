"""Policies that stretch the traits, written as a user would: layer-ragged, head-ragged, token classes, a basis."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import kvsim.find as find
from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.traits.encoding import Basis, GroupQuantizer, Ints, Parts, Quantizer
from kvsim.traits.layout import Layout
from kvsim.traits.policy import Policy, policy
from kvsim.traits.retention import Retention

LLAMA = find.model("llama-3-8b")
H100 = Rates.of(find.machine("h100"), 1)


@dataclass(frozen=True)
class LayerBudgets(Retention):
    """CAKE's shape: each layer keeps its share of a total budget."""

    total: int

    def label(self, geo: Geometry, layer: int) -> object:
        return layer

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        shares = np.arange(1, len(kinds) + 1) * self.total // sum(range(1, len(kinds) + 1))
        cut = np.maximum(prompt - shares[:, None], 0)
        return (context - cut)[:, None]

    def start(self, prompt: int) -> int | None:
        return None


@dataclass(frozen=True)
class RetrievalHeads(Retention):
    """DuoAttention's shape: half of the kv heads keep everything, half keep sinks and a window."""

    streaming: int = 320

    def heads(self, geo: Geometry, layer: int) -> tuple[int, ...]:
        half = geo.kv_heads // 2
        return (half, geo.kv_heads - half)

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        return np.stack([context, np.minimum(context, self.streaming)])[:, None]


@dataclass(frozen=True)
class Salient(Retention):
    """ZipCache's shape: classes salient, other, recent; a block of `gap` new tokens is recompressed at once."""

    gap: int = 100
    classes = 3

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        recent = context % self.gap
        old = context - recent
        salient = old * 6 // 10
        return np.stack([salient, old - salient, recent])[None]


@dataclass(frozen=True)
class ByClass(Quantizer):
    """4 bits for salient tokens, 2 for others, 16 for recent ones."""

    linear = False
    period = 100

    def of_class(self, index: int) -> Quantizer:
        return (Quantizer(4), Quantizer(2), Quantizer(16))[index]


@dataclass(frozen=True)
class HalfKeys(Basis):
    """ThinK's shape: keys keep part of their channels, a mask of one bit a channel says which."""

    share: float = 0.5

    def key_dim(self, dim: int) -> int:
        return int(dim * self.share)

    def metadata_bytes(self, dim: int) -> int:
        return dim // 8


def laid_out(**traits: object) -> Layout:
    full: Policy = policy("full")
    return Layout(replace(full, **traits), LLAMA, 1, 16)  # type: ignore[arg-type]


def at(layout: Layout, prompt: int, context: int) -> int:
    return int(layout.stored(np.array([prompt]), np.array([context]))[0])


def test_layer_budgets_add_up() -> None:
    layout = laid_out(retention=LayerBudgets(32 * 512))
    budgets = sum(i * 32 * 512 // 528 for i in range(1, 33))
    assert at(layout, 8000, 8000) == budgets * 8 * 512
    assert at(layout, 8000, 8010) == (budgets + 320) * 8 * 512


@pytest.mark.parametrize("prompt", [100, 8000])
def test_alike_layers_share_a_ledger_row_and_price_the_same(prompt: int) -> None:
    layout = laid_out(retention=LayerBudgets(32 * 512))
    pricer = Pricer(layout, H100)
    assert pricer.kinds == 1
    rows = pricer.ledger_rows(prompt, 5)
    folded = np.asarray(pricer.price(1, rows, None, 0)[0])
    raw = layout.demand(prompt, 5)
    mean = np.stack([raw[:32].sum(axis=0) / 32, raw[-1]])  # a linear price depends on the layers' mean
    assert np.allclose(folded, np.asarray(Pricer(laid_out(), H100).price(1, mean, None, 0)[0]), rtol=1e-12)


def test_ragged_layers_with_a_bound_that_changes_are_priced_by_layer() -> None:
    layout = laid_out(retention=LayerBudgets(32 * 512), quantizer=GroupQuantizer())
    pricer = Pricer(layout, H100)
    assert pricer.kinds == 32
    rows = pricer.ledger_rows(4000, 7)
    spans = np.asarray(pricer.price(1, rows, None, 0)[0])
    single = [float(np.asarray(pricer.price(1, rows[:, i : i + 1], None, 0)[0])[0]) for i in range(7)]
    assert spans.tolist() == single


def test_duo_attention_on_one_a100() -> None:
    """3.3M tokens of Llama-3-8B with 4-bit KV: 17.4 KB a token (catalogue), so that 57 GB hold them."""
    per_token = laid_out(retention=RetrievalHeads(), quantizer=GroupQuantizer(4, 128, 128))
    grown = at(per_token, 1, 1280 + 12_800) - at(per_token, 1, 1280)
    exact = 32 * 4 * (64 + 64 + 128 * 4 // 128 + 4)  # codes, and a scale and a minimum for each 128 elements
    assert grown / 12_800 == exact
    assert 3.3e6 * exact == pytest.approx(57e9, rel=0.02)


def test_token_classes_have_their_own_bits() -> None:
    layout = laid_out(retention=Salient(), quantizer=ByClass())
    assert at(layout, 1, 1000) == 32 * 8 * 256 * (600 * 4 + 400 * 2) // 8  # 3.2 bits: the paper's 5x
    assert at(layout, 1, 1050) - at(layout, 1, 1000) == 32 * 8 * 256 * 50 * 2
    for context in range(1, 1000, 7):
        assert at(layout, 1, context + 100) >= at(layout, 1, context)


def test_a_basis_and_a_quantizer_form_a_chain() -> None:
    kivi = GroupQuantizer(2, 32, 32)
    layout = laid_out(basis=HalfKeys(), quantizer=kivi)
    parts: Parts = kivi.bytes(np.array([1024]), 64, 128)
    assert at(layout, 1, 1024) == 32 * 8 * (int(parts.total[0]) + 16)
