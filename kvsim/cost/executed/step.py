"""GPU seconds of one step, kernel by kernel."""

from dataclasses import replace

from kvsim.cost import affine, cacheops
from kvsim.cost.calibration import Fitted
from kvsim.cost.curves.paged import PagedDecodeCurve
from kvsim.cost.curves.tiles import FULL_SHARE, TileGemmCurve
from kvsim.cost.executed import packed, paged, tiles
from kvsim.cost.executed.batch import Batch
from kvsim.cost.executed.extras import PACK_S, Extras
from kvsim.cost.overheads import Overheads
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.traits.layout import Layout

PAPERS = ("fp8", "full", "h2o", "headinfer", "kivi", "offload", "snapkv", "streaming")  # that the executor runs
ARGMAX_S = 0.25e-9  # of each column of the logits: a row is one CTA's, 35 us for 128,256
UNIT_S, UNITS_S = 6.6e-6, 9e-6  # of a unit of a cache in host memory, and of a layer of several: rows written, copied


class Executed:
    """One layout on one machine. Mutable: `hot` and `cool` tabulate what does not touch the cache, with and without the
    power limit."""

    def __init__(self, layout: Layout, rates: Rates, overheads: Overheads) -> None:
        self.layout, self.rates, self.geo = layout, rates, layout.geo
        self.paper = layout.policy.papers[0]
        self.name = type(self.paper).__name__.lower()
        self.extras = Extras(layout.geo, rates.chip)
        self.layers = layout.geo.model.layers
        self.sizes = () if layout.offloaded else overheads.graph_sizes
        self.units = max(1, layout.policy.placement.units(layout.geo) // self.layers)
        self.hot, self.cool = (
            Pricer(layout, each, replace(overheads, as_executed=False)) for each in (rates, unlimited(rates))
        )
        curve = rates.curves.curve("attention_decode", "fp8" if self.name == "fp8" else "bf16")
        assert curve is not None
        self.curve = curve.curve
        (kind,) = layout.kinds
        write = lambda new: [cacheops.cache_write(layout, kind, new)]  # noqa: E731
        join = lambda past: [cacheops.joined_past(layout, kind, past)]  # noqa: E731
        self.write_s, table = affine.probe(write, 1, rates)
        self.write_token_s = float(table.max())
        self.join_token_s = float(affine.probe(join, 1, rates)[1].max())

    @classmethod
    def of(cls, layout: Layout, rates: Rates, overheads: Overheads) -> "Executed | None":
        """None where the executor does not run a policy so, or its kernels were not measured on a chip."""
        names = [type(paper).__name__.lower() for paper in layout.policy.papers]
        decode = rates.curves.curve("attention_decode", "bf16")
        measured = decode is not None and isinstance(decode.curve, PagedDecodeCurve)
        runs = len(names) == 1 and names[0] in PAPERS and layout.policy.fidelity == "ideal"
        bits = getattr(layout.policy.papers[0], "bits", None)
        runs = runs and (bits is None or rates.curves.curve("packed_decode", f"int{bits}") is not None)
        alike = len(layout.kinds) == 1 and not layout.geo.model.latent and not layout.geo.model.experts
        return cls(layout, rates, overheads) if measured and runs and alike else None

    def seconds(self, batch: Batch) -> float:
        """GPU seconds of a step."""
        decodes, new = len(batch.kept), sum(new for new, _ in batch.chunks)
        sequences = decodes + len(batch.chunks)
        took_s = self.write_s + (decodes + new) * self.write_token_s + ARGMAX_S * self.geo.model.vocab / self.geo.tp
        if decodes:
            took_s += self.layers * self._decode(batch)
        if not batch.chunks:
            return took_s + self.hot.dense(decodes, sequences)
        passes_s = took_s + self.layers * self._passes(batch, decodes, new)
        compute_s = self.layers * self._attention(batch)
        cool_s = self.cool.dense(decodes + new, sequences, True) + compute_s
        # The limit is one of energy. Attention draws no more than it: what products take longer is all there is.
        hot_s = self.hot.dense(decodes + new, sequences, True) + compute_s
        cool = min(1.0, batch.full_clock_s / cool_s)
        return passes_s + cool * cool_s + (1 - cool) * hot_s

    def short_of_buffers(self, batch: Batch, gpu_s: float, fetch_s: float) -> float:
        """Seconds of a step whose cache is fetched, if buffers set its pace: they fill while the rest of a layer runs,
        then its other units come one by one."""
        buffers: int = self.layout.policy.placement.buffers  # type: ignore[attr-defined]
        if buffers >= self.units:
            return gpu_s
        share = buffers / self.units
        inside_s = self.layers * self._decode(batch) if batch.kept else 0.0
        inside_s += self.layers * self._attention(batch) if batch.chunks else 0.0
        return gpu_s - (1 - share) * inside_s + (1 - share) * max(inside_s, fetch_s)

    # -- decodes -----------------------------------------------------------------------------------------------------

    def _decode(self, batch: Batch) -> float:
        """Attention of one layer's decodes and what a policy does beside it."""
        kept, geo, extras = batch.kept, self.geo, self.extras
        decodes = len(kept)
        padded = decodes if batch.chunks else next((size for size in self.sizes if size >= decodes), decodes)
        if self.name == "kivi":
            return self._packed(batch, padded)
        width = batch.width_tokens or paged.width_of(max(kept))
        dim, element = geo.key_dim, 1.0 if self.name == "fp8" else 2.0
        heads, kv_heads = geo.query_heads // self.units, geo.kv_heads // self.units
        chip = self.rates.chip
        merged = self.name == "h2o"
        took_s = self.units * paged.seconds(
            self.curve, chip, kept, padded, heads, kv_heads, dim, element, width, merged
        )
        if self.layout.offloaded:
            took_s += self.units * UNIT_S + (UNITS_S if self.units > 1 else 0.0)
        if merged:
            heavy, recent = self.paper.heavy, self.paper.recent  # type: ignore[attr-defined]
            took_s += extras.second_pass(sum(kept), int(max(kept) * heavy / (heavy + recent)))
        return took_s

    def _packed(self, batch: Batch, padded: int) -> float:
        """KIVI's decodes; the step packs if any sequence's block is full."""
        flushes_s = PACK_S * (1 - (127 / 128) ** len(batch.kept))
        width, bits = batch.width_tokens or paged.width_of(max(batch.kept)), self.paper.bits  # type: ignore[attr-defined]
        curve = self.rates.curves.curve("packed_decode", f"int{bits}")
        assert curve is not None
        return packed.seconds(curve.curve, self.rates.chip, self.geo, batch.kept, padded, bits, width) + flushes_s

    # -- prompts -----------------------------------------------------------------------------------------------------

    def _attention(self, batch: Batch) -> float:
        """What is bound by arithmetic in one layer's reading of chunks."""
        geo, sms = self.geo, self.rates.chip.multiprocessors
        if self.layout.offloaded:
            heads, kv_heads = geo.query_heads // self.units, geo.kv_heads // self.units
            return self.units * sum(tiles.seconds((chunk,), heads, kv_heads, sms) for chunk in batch.chunks)
        if self.name == "streaming":
            return sum(self._near_and_far(*chunk) for chunk in batch.chunks)
        took_s = tiles.seconds(batch.chunks, geo.query_heads, geo.kv_heads, sms)
        took_s += tiles.BEHIND_S if tiles.one_round(batch.chunks, geo.query_heads, sms) else 0.0
        if self.name == "h2o":
            took_s += sum(self.extras.score_sums(*chunk) for chunk in batch.chunks)
        return took_s

    def _near_and_far(self, new: int, past: int) -> float:
        """StreamingLLM: attention within the window, and to the sinks."""
        sinks, window = self.paper.sinks, self.paper.window  # type: ignore[attr-defined]
        heads, kv_heads, sms = self.geo.query_heads, self.geo.kv_heads, self.rates.chip.multiprocessors
        before = min(max(0, past - sinks), window - 1)
        near_s = tiles.seconds(((new, before),), heads, kv_heads, sms, window)
        if not past and new:
            near_s += tiles.seconds(((min(new, sinks), 0),), heads, kv_heads, sms)
        return near_s + tiles.seconds(((new, sinks),), heads, kv_heads, sms, None, False)

    def _passes(self, batch: Batch, decodes: int, new: int) -> float:
        """What is bound by memory or latency there."""
        extras, past = self.extras, sum(past for _, past in batch.chunks)
        took_s: float = extras.joined(decodes, new) if decodes else 0.0
        if self.name == "streaming":
            window: int = self.paper.window  # type: ignore[attr-defined]
            kept = sum(min(past, window) for _, past in batch.chunks)
            took_s += extras.merged(new) + kept * self.join_token_s / self.layers
            return took_s + (extras.copies(new) if past else 0.0)
        if past:
            took_s += past * self.join_token_s / self.layers + extras.copies(new)
        if self.layout.offloaded:
            took_s += self.units * UNIT_S
        if self.name == "kivi":
            took_s += PACK_S + extras.copies(new) + extras.copies(128) + (extras.copies(128) if past else 0.0)
        if self.name in ("h2o", "snapkv"):
            took_s += sum(self._chosen(prompt) for prompt in batch.ends)
        return took_s

    def _chosen(self, prompt: int) -> float:
        if self.name == "snapkv":
            capacity = self.paper.capacity  # type: ignore[attr-defined]
            return self.extras.chosen(prompt) if prompt > capacity else 0.0
        return self.extras.chosen(prompt)


def unlimited(rates: Rates) -> Rates:
    """The same rates while the power limit does not hold products back: the clock is the chip's own."""
    curves, free = rates.curves, {"sustained_share": 1.0, "product_share": FULL_SHARE}
    own = [
        Fitted.model_validate(one.model_dump() | {"parameters": one.parameters | free})
        if one.op == "gemm" and isinstance(one.curve, TileGemmCurve)
        else one
        for one in curves.calibration.curves
    ]
    calibration = curves.calibration.model_copy(update={"curves": own})
    return replace(rates, curves=replace(curves, calibration=calibration))
