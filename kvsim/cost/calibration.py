"""Curves fitted to measurements of a chip or a link, as `hardware/calibration/*.yaml` holds them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from pydantic import Field

from kvsim.specs.load import Spec

CURVES = {  # a class of Ops has a form of its own name, other kernels have theirs; loaded when it is used
    "gemm": "gemm.GemmCurve",
    "tile_gemm": "tiles.TileGemmCurve",
    "cutlass_gemm": "cutlass.CutlassCurve",
    "grouped_gemm": "grouped.GroupedGemmCurve",
    "attention_decode": "decode.DecodeCurve",
    "paged_decode": "paged.PagedDecodeCurve",
    "ragged_decode": "ragged.RaggedDecodeCurve",
    "balanced_decode": "balanced.BalancedDecodeCurve",
    "attention_prefill": "prefill.PrefillCurve",
    "query_tiles": "queries.QueryTileCurve",
    "paired_tiles": "pairs.PairedTileCurve",
    "flashinfer": "flashinfer.FlashInferCurve",
    "packed_tiles": "packgqa.PackedTileCurve",
    "column_sums": "sums.ColumnSumsCurve",
    "packed_decode": "packed.PackedDecodeCurve",
    "pack": "movers.PackCurve",
    "compaction": "movers.CompactionCurve",
    "gathered_decode": "gathered.GatheredDecodeCurve",
    "mla_decode": "latent.MlaDecodeCurve",
    "lowrank_decode": "latent.LowRankDecodeCurve",
    "shared_prefix_decode": "shared.SharedPrefixCurve",
    "all_reduce": "all_reduce.AllReduceCurve",
    "custom_all_reduce": "custom_all_reduce.CustomAllReduceCurve",
    "copy": "copy.CopyCurve",
    "elementwise": "passes.PassCurve",
}
BESIDE_CHUNK = "attention_beside_chunk"  # decodes in a step that also reads prompts, by the prompts' kernel
# More than the lender's, where a chip borrows a relative's curve: what Hopper's two chips showed, each by the other's.
BORROWED_ERROR = 0.08
BORROWED_ERRORS = {"packed_decode": 0.10}  # unpacking bounds it on the H200, pages of the cache on the H100


def form(name: str) -> type[Any]:
    """The class of a form in CURVES."""
    module, _, curve = CURVES[name].partition(".")
    found: type[Any] = getattr(import_module(f"kvsim.cost.curves.{module}"), curve)
    return found


def borrowed_error(op: str) -> float:
    """What a relative's curve adds to its error, in the median."""
    return BORROWED_ERRORS.get(op, BORROWED_ERROR)


class Residuals(Spec):
    """|predicted / measured - 1| over `rows` measurements."""

    rows: int
    median: float
    p90: float
    worst: float
    worst_shape: str


class Hot(Spec):
    """A benchmark's buffers: `copies` of the large operand in rotation, and the share of L2 that holds them."""

    copies: float
    l2_share: float


class Switches(Spec):
    """A table of residuals on top of a GEMM's curve, by classes of m, n and k: see `curves/switches.py`."""

    bounds: list[list[float]]
    factors: list[list[list[float]]]


class Fitted(Spec):
    """A fitted curve, with all that a reader needs to judge it.

    Attributes:
        form: of the curve, in CURVES; that of its op if empty.
        tables: files of measurements, under hardware/calibration or where the source publishes them.
        where: their columns' values that make a row one of this kernel's.
        measured_on: the chip whose rows these are, where a relative lends its kernel; residuals are of that chip.
        switches: a table of residuals on top, of this chip's library alone.
        host: the one whose processor, or whose root of the bus, these copies' seconds belong to.
        held_out: residuals of rows that the fit did not see; `held_out_512`: of GEMMs with n and k of at least 512.
    """

    op: str
    dtype: str
    kernel: str
    source: str
    licence: str
    tables: list[str]
    where: dict[str, str] = Field(default_factory=dict)
    form: str = ""
    measured_on: str = ""
    host: str = ""
    fitted: str
    parameters: dict[str, float | int | bool]
    switches: Switches | None = None
    held_out: Residuals
    held_out_512: Residuals | None = None
    benchmark: Hot | None = None

    @cached_property
    def alone(self) -> Any:
        """The curve without its table, which other chips may borrow; unknown or missing parameters are a TypeError."""
        return form(self.form or self.op)(**self.parameters)

    @cached_property
    def curve(self) -> Any:
        """The curve, with its table if it has one."""
        if self.switches is None:
            return self.alone
        from kvsim.cost.curves.switches import SwitchedCurve

        return SwitchedCurve(self.alone, self.switches.bounds, self.switches.factors)


class InSteps(Spec):
    """What prices a class of attention inside a step: its curve's nearest form that is affine in sums over a batch.

    latency_s a launch, row_s for each query token of a head (`per_kv_head`: of a kv head) that an SM serves, and work
    that overlaps but for the share `exposed`: FLOPs at tensor_share of the peak, bytes at memory_share of HBM
    bandwidth, key_s for each key that a chunk's last token sees. `alone`: only where each query head has a kv head of
    its own. `measured`: residuals of whole mixed batches, where somebody measured them.
    """

    op: str
    dtype: str = "bf16"
    kernel: str
    latency_s: float
    row_s: float
    key_s: float
    tensor_share: float
    memory_share: float
    exposed: float
    per_kv_head: bool = False
    alone: bool = False
    against_curve: Residuals
    measured: Residuals | None = None


class Power(Spec):
    """Watts of a board: idle with a context, or `busy_w` plus joules by what its kernels compute and move.

    `median` and `worst` of |predicted / measured - 1| over the `rows` classes of work that it was fitted to.
    """

    idle_w: float
    busy_w: float
    bf16_flop_j: float
    fp8_flop_j: float
    byte_j: float
    rows: int
    median: float
    worst: float


class Calibration(Spec):
    """A chip's or a link's curves. `borrows` names the one whose curves are used, and `why` they fit."""

    borrows: str = ""
    why: str = ""
    curves: list[Fitted] = Field(default_factory=list)
    in_steps: list[InSteps] = Field(default_factory=list)
    power: Power | None = None


@dataclass(frozen=True)
class Calibrated:
    """What a chip or link uses: its own calibration, or (`lender`) a relative's."""

    calibration: Calibration
    lender: str = ""

    @cached_property
    def _by_key(self) -> dict[tuple[str, str, str], Fitted]:
        found: dict[tuple[str, str, str], Fitted] = {}
        for one in self.calibration.curves:
            found.setdefault((one.op, one.dtype, ""), one)
            found[one.op, one.dtype, one.kernel] = one
        return found

    @cached_property
    def _steps(self) -> dict[tuple[str, str], list[InSteps]]:
        found: dict[tuple[str, str], list[InSteps]] = {}
        for one in self.calibration.in_steps:
            of_first = found.setdefault((one.op, one.dtype), [])
            if not of_first or one.kernel == of_first[0].kernel:
                of_first.append(one)
        return found

    def curve(self, op: str, dtype: str, kernel: str = "") -> Fitted | None:
        """The curve of a class of Ops and a type of its operands, if any: of `kernel`, or of the first."""
        return self._by_key.get((op, "bf16" if dtype == "fp16" else dtype, kernel))

    def beside(self, host: str) -> "Calibrated":
        """These curves as a machine with `host` uses them: of copies its own, else another host's, as borrowed."""
        found: dict[tuple[str, str, str], Fitted] = {}
        for one in self.calibration.curves:
            key, lent = (one.op, one.dtype, one.kernel), one.host not in ("", host)
            if not lent:
                found[key] = one
            elif key not in found:
                found[key] = one.model_copy(update={"measured_on": one.host})
        calibration = self.calibration.model_copy(update={"curves": list(found.values())})
        return Calibrated(calibration, self.lender)

    def kernels(self, op: str, dtype: str) -> list[str]:
        """Kernels of a class of Ops and a type, the one that is taken first."""
        return [one.kernel for one in self.calibration.curves if (one.op, one.dtype) == (op, dtype)]

    def preferring(self, words: Sequence[str]) -> "Calibrated":
        """The same where, of several kernels of a class, one whose name holds one of `words` comes first."""
        found = self.calibration

        def rank(one: Fitted | InSteps) -> int:
            return next((at for at, word in enumerate(words) if word in one.kernel), len(words))

        if all(rank(one) == len(words) for one in found.curves):
            return self
        update = {"curves": sorted(found.curves, key=rank), "in_steps": sorted(found.in_steps, key=rank)}
        return replace(self, calibration=found.model_copy(update=update))

    def in_steps(self, op: str, dtype: str = "bf16", alone: bool = False) -> InSteps | None:
        """Coefficients of a class of Ops as part of a step, if there are any: of its first kernel.

        `alone`: each query head has a kv head of its own; others' coefficients stand in where these have none.
        """
        known = self._steps.get((op, dtype), ())
        return next((one for one in known if one.alone == alone), next(iter(known), None))


NOTHING = Calibrated(Calibration())
