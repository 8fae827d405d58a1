"""Executed steps against the model, by chip, model, phase and policy; what the host paces apart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from kvsim import find
from kvsim.cost.executed.batch import SPENDS_S, Batch
from kvsim.cost.executed.whole import step_s
from kvsim.cost.op import Num
from kvsim.cost.pricer import Pricer
from kvsim.cost.rates import Rates
from kvsim.engine.capacity import activation_bytes
from kvsim.engine.serving import Serving
from kvsim.replay import serving_preset
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy as named_policy
from kvsim.validate import lend
from kvsim.validate.steplog import FOLDER, StepRow, chips, column, read_steps

SERVING = "executor"  # the preset whose overheads the executor has
GRAPHED, UNGRAPHED = "graphs", "launched"
TIMED_ALONE = 1600  # tokens up to which steps without a graph wait for their launches, and so for each other


@dataclass(frozen=True)
class Priced:
    """A row and what is predicted of it: seconds of the step; bytes of the cache in its home tier; bytes of weights and
    of what the step works on."""

    row: StepRow
    seconds: float
    kv_bytes: int
    working_bytes: int

    @property
    def error(self) -> float:
        """predicted / executed - 1."""
        return self.seconds / self.row.seconds - 1


@dataclass(frozen=True)
class Group:
    """Errors of some rows: |predicted / executed - 1|; `host`: they are paced by the host; `noise`: median of rows'."""

    chip: str
    model: str
    phase: str
    policy: str
    host: bool
    rows: int
    median: float
    p90: float
    worst: float
    worst_shape: str
    noise: float


def machine_of(chip: str) -> str:
    """The system that holds a chip: `h100` for `h100-sxm-80gb`."""
    for name in find.names("hardware/systems"):
        if find.system(name).chip == chip:
            return name
    return chip


def chip_of(hw: str) -> str:
    """The chip of a system, or a chip's own name."""
    if hw in find.names("hardware/systems"):
        chip = find.system(hw).chip
        return chip if isinstance(chip, str) else hw
    return hw


def priced(chip: str, rows: Sequence[StepRow], lender: str = "", as_executed: bool = True) -> list[Priced]:
    """Each row with its prediction; by another chip's curves (`kvsim.validate.lend`) if one is named.

    `as_executed`: by the executor's own kernels, where they are known; else as a run is priced.
    """
    hw = machine_of(chip)
    return [_priced(hw, row, lender, as_executed) for row in rows]


def _priced(hw: str, row: StepRow, lender: str, as_executed: bool) -> Priced:
    pricer, serving = _pricer(hw, row.model, row.policy, row.fidelity, row.tp, row.block, lender, as_executed)
    layout = pricer.layout
    ledger = np.zeros(pricer.rows, np.int64)
    for count, context, prompt in row.decodes:
        generated = max(1, context - prompt)
        ledger += count * pricer.ledger_rows(context - generated, generated)[:, -1]
    features: list[Num] | None = None
    held, end_s = int(ledger[pricer.home_row]), 0.0
    for new, past in row.chunks:
        chunk = pricer.chunk(new, past)
        features = chunk if features is None else [a + b for a, b in zip(features, chunk, strict=True)]
        held += int(layout.allocated_while_prefilling(past + new)[1])
        end_s += pricer.prompt_end(past + new)
    rows = ledger.tolist() if row.batch else ()
    took: Num
    if pricer.executed:
        took = step_s(pricer, _batch(pricer, row), rows, features)[0]
    else:
        took = pricer.price(row.batch, rows, features, len(row.chunks), end_s)[0]
    sequences = row.batch + len(row.chunks)
    working = activation_bytes(layout, _sized(serving, row.batch + row.new, sequences))
    weights = int(layout.geo.model.weight_bytes / row.tp)
    return Priced(row, float(np.asarray(took).item()), held, weights + layout.static_bytes + working)


def _batch(pricer: Pricer, row: StepRow) -> Batch:
    """A row's step: one of few tokens was timed alone, so that the chip had its full clock, others were in series."""
    kept: list[int] = []
    for count, context, prompt in row.decodes:
        generated = max(1, context - prompt)
        each = pricer.ledger_rows(context - generated, generated)[:, -1]
        kept += [int(each[0]) // pricer.layout.geo.kv_heads] * count
    ends = tuple(new + past for new, past in row.chunks)
    full_clock_s = SPENDS_S if row.batch + row.new <= TIMED_ALONE else 0.0
    return Batch(tuple(kept), row.chunks, ends, full_clock_s, row.width_tokens)


def _sized(serving: Serving, tokens: int, sequences: int) -> Serving:
    from dataclasses import replace

    return replace(serving, max_num_batched_tokens=max(tokens, sequences), max_num_seqs=sequences)


@cache
def _pricer(
    hw: str, model: str, policy: str, fidelity: str, tp: int, block: int, lender: str, as_executed: bool = True
) -> tuple[Pricer, Serving]:
    serving = serving_preset(SERVING, {"block_tokens": block, "as_executed": as_executed})
    layout = Layout(named_policy(policy, fidelity), find.model(model), tp, serving.block_tokens)
    machine = lend.machine(hw if tp == 1 else f"{hw}x{tp}", lender)
    return Pricer(layout, Rates.of(machine, tp), serving.overheads), serving


def step_checks(chip: str | None = None, root: Path = FOLDER) -> dict[str, list[Priced]]:
    """Every logged step with its prediction, by chip; steps of several chips under `<chip> x<tp>`."""
    found: dict[str, list[Priced]] = {}
    for name in chips(root):
        if chip is None or chip in (name, machine_of(name)):
            for one in priced(name, read_steps(name, root)):
                found.setdefault(name if one.row.tp == 1 else f"{name} x{one.row.tp}", []).append(one)
    return found


def launching_s(chip: str, found: Sequence[Priced]) -> float | None:
    """Seconds that the host took for a kernel, in the median of the steps that it paced; None where it paced none."""
    each = []
    for one in found:
        row = one.row
        if row.paced_by_host:
            pricer, _ = _pricer(machine_of(chip), row.model, row.policy, row.fidelity, row.tp, row.block, "")
            kernels = pricer.launching.kernels(row.batch + row.new, row.batch > 0, bool(row.chunks))
            each.append(row.seconds / kernels)
    return float(np.median(each)) if each else None


def lent(found: Mapping[str, Sequence[Priced]], lenders: Sequence[str]) -> Iterator[tuple[str, list[Group]]]:
    """Rows as if their chip had not been measured: (lender, errors by phase), for each other chip and the datasheet."""
    for chip, rows in found.items():
        name = chip.split()[0]
        for lender in (*(one for one in lenders if one != name), lend.DATASHEET):
            again = priced(name, [one.row for one in rows], lender)
            yield lender, list(groups(chip, again, ("phase",)))


def groups(chip: str, found: Sequence[Priced], by: tuple[str, ...] = ("model", "phase", "policy")) -> Iterator[Group]:
    """Errors by the named fields of rows (others are "all"), in the order of the rows; what the host paces apart."""
    keyed: dict[tuple[bool, tuple[str, ...]], list[Priced]] = {}
    for one in found:
        keyed.setdefault((one.row.paced_by_host, tuple(getattr(one.row, name) for name in by)), []).append(one)
    for (host, key), members in keyed.items():
        error = np.array([one.error for one in members])
        worst = int(np.argmax(np.abs(error)))
        names = dict(zip(by, key, strict=True))
        yield Group(
            chip,
            names.get("model", "all"),
            names.get("phase", "all"),
            names.get("policy", "all"),
            host,
            len(members),
            float(np.median(np.abs(error))),
            float(np.percentile(np.abs(error), 90)),
            float(error[worst]),
            members[worst].row.named,
            float(np.median(column([one.row for one in members], "noise"))),
        )


@dataclass(frozen=True)
class Bytes:
    """Errors of what was allocated, over rows that say it: of the cache (exact or not), and of the peak without it."""

    chip: str
    policy: str
    cache_rows: int
    cache_exact: int
    peak_rows: int
    peak_median: float | None
    peak_worst: float | None


def bytes_of(chip: str, found: Sequence[Priced]) -> Iterator[Bytes]:
    """Predicted bytes against allocated ones, by policy."""
    for policy in dict.fromkeys(one.row.policy for one in found):
        mine = [one for one in found if one.row.policy == policy]
        cache_rows = [one for one in mine if one.row.kv_bytes]
        peaks = np.array([one.working_bytes / _worked(one.row) - 1 for one in mine if one.row.peak_bytes])
        yield Bytes(
            chip,
            policy,
            len(cache_rows),
            sum(one.kv_bytes == one.row.kv_bytes for one in cache_rows),
            len(peaks),
            float(np.median(np.abs(peaks))) if len(peaks) else None,
            float(peaks[np.argmax(np.abs(peaks))]) if len(peaks) else None,
        )


def _worked(row: StepRow) -> int:
    """Bytes of weights and of what a step allocated at most."""
    return row.weight_bytes + row.peak_bytes - row.before_bytes
