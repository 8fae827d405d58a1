"""Tables of executed steps and replays against the model, as text and JSON."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kvsim.report.words import amount, percent, seconds
from kvsim.validate.promise import Promise, promises
from kvsim.validate.replaycheck import Knee, ReplayCheck
from kvsim.validate.runtables import signed
from kvsim.validate.stepcheck import Group, Priced, bytes_of, groups, launching_s
from kvsim.validate.steplog import PACED_BY_HOST

_STEP = "{:<12}{:<12}{:<9}{:<18}{:>6}{:>9}{:>9}{:>10}{:>8}  {}"


def step_lines(found: Mapping[str, Sequence[Priced]]) -> Iterator[str]:
    """Errors of a chip: of all rows, by phase, by model, and by policy; what the host paces last."""
    heads = ("chip", "model", "phase", "policy", "steps", "median", "p90", "worst", "noise", "at")
    yield "executed steps: |predicted / executed - 1|"
    yield _STEP.format(*heads)
    for chip, rows in found.items():
        cuts = ((), ("phase",), ("model", "phase"), ("phase", "policy"))
        yield from (_row(one) for by in cuts for one in groups(chip, rows, by) if not one.host)
        paced = [part for part in groups(chip, rows) if part.host]
        if paced:
            yield "  paced by the host (short steps that are launched kernel by kernel)"
            yield from map(_row, paced)
            each = launching_s(chip.split()[0], rows)
            yield f"  {seconds(each or 0)} a kernel in their median"
        yield from _bytes(chip, rows)


def lent_lines(found: Iterable[tuple[str, Sequence[Group]]]) -> Iterator[str]:
    """Errors by phase, priced by other chips' curves."""
    yield "as if their chip had not been measured"
    for lender, parts in found:
        yield from (f"{_row(part)[:99].rstrip()}  by {lender}" for part in parts if not part.host)


def _row(one: Group) -> str:
    figures = (f"{one.rows:,}", percent(one.median), percent(one.p90), signed(one.worst), percent(one.noise))
    return _STEP.format(one.chip, one.model, one.phase, one.policy[:17], *figures, one.worst_shape).rstrip()


def _bytes(chip: str, rows: Sequence[Priced]) -> Iterator[str]:
    for one in bytes_of(chip, rows):
        parts = []
        if one.cache_rows:
            parts.append(f"cache bytes equal in {one.cache_exact} of {one.cache_rows} steps")
        if one.peak_median is not None:
            parts.append(f"peak memory {percent(one.peak_median)} off in the median, worst {signed(one.peak_worst)}")
        if parts:
            yield f"  {one.policy}: {'; '.join(parts)}"


def replay_lines(found: Sequence[ReplayCheck], knees: Sequence[Knee]) -> Iterator[str]:
    """Each replay in lockstep and free-running."""
    yield "replays in lockstep: the model on the executed batches; sums of all, of decodes, of steps with prompts"
    yield f"(long; short: at most {PACED_BY_HOST} tokens, with their share of the executed time); then of single steps"
    heads = f"{'total':>9}{'decode':>9}{'long':>9}{'short':>9}{'share':>7}{'median':>8}{'p90':>8}{'worst':>9}"
    yield f"{'chip':<10}{'replay':<22}{'steps':>7}{heads}  preempted"
    for one in found:
        lock = one.lockstep
        sums = (
            signed(lock.total_error),
            *(signed(lock.by_kind.get(kind, (0, None))[1]) for kind in ("decode", "prompts", "short")),
        )
        short = f"{lock.by_kind.get('short', (0.0, None))[0]:.0%}"
        figures = (percent(lock.median), percent(lock.p90))
        same = "as logged" if lock.same_preemptions and lock.same_times else "NOT as logged"
        row = "".join(f"{figure:>9}" for figure in sums) + f"{short:>7}" + "".join(f"{figure:>8}" for figure in figures)
        head = f"{one.replay.chip:<10}{one.replay.name:<22}{lock.steps:>7,}"
        yield f"{head}{row}{signed(lock.worst):>9}  {same}; {lock.worst_step}"
    yield ""
    yield "free-running: executed, predicted, predicted / executed - 1"
    for one in found:
        yield f"{one.replay.chip} {one.replay.name}"
        for name, (executed, predicted) in one.free.figures.items():
            off = signed(predicted / executed - 1 if executed else None)
            words = (lambda rate: f"{rate:.4g}") if name.endswith("per_s") else seconds
            yield f"  {name:<24}{words(executed):>12}{words(predicted):>12}{off:>10}"
        executed_count, predicted_count = one.free.preempted
        if executed_count or predicted_count:
            share = "-" if one.free.overlap is None else f"{one.free.overlap:.0%}"
            yield f"  preempted {executed_count}, predicted {predicted_count}, {share} the same"
        if one.rate:
            yield f"  the model has the executed mean latency at {one.rate:.3f} times the rate"
        if one.peak_bytes:
            allocated, expected = one.peak_bytes
            off = signed(expected / allocated - 1)
            yield f"  peak memory {amount(allocated)}, predicted {amount(expected)} ({off})"
    for knee in knees:
        both = [f"{rate:.3g}/s" if rate else "not reached" for rate in (knee.executed, knee.predicted)]
        off = signed(knee.predicted / knee.executed - 1) if knee.executed and knee.predicted else "-"
        yield f"{knee.family}: the mean time to the first token doubles at {both[0]}, predicted {both[1]} ({off})"


def promise_lines(found: Sequence[Promise]) -> Iterator[str]:
    """A row an executed policy."""
    heads = ("ideal", "published", "as it is", "executed", "promised", "kept", "room")
    yield f"{'chip':<12}{'model':<13}{'policy':<18}{'decode step':<18}" + "".join(f"{head:>11}" for head in heads)
    for one in found:
        shape = f"batch {one.batch}, {one.context:,}"
        published = seconds(one.published_s) if one.published_s else "the same"
        times = [f"{share:.2f} x" if share else "-" for share in (one.promised, one.kept, one.room)]
        figures = (seconds(one.ideal_s), published, seconds(one.foreseen_s), seconds(one.executed_s), *times)
        row = f"{one.chip:<12}{one.model:<13}{one.policy[:17]:<18}{shape:<18}"
        yield row + "".join(f"{figure:>11}" for figure in figures)
    yield "ideal, published, as it is (the executor's own kernels): predicted; promised (ideal), kept: times as fast as"
    yield "the executed full cache; room: tokens that fit"


def step_json(found: Mapping[str, Sequence[Priced]]) -> dict[str, Any]:
    """Groups, bytes and promises as objects."""
    return {
        "steps": [asdict(one) for chip, rows in found.items() for one in groups(chip, rows)],
        "bytes": [asdict(one) for chip, rows in found.items() for one in bytes_of(chip, rows)],
        "promises": [asdict(one) for chip, rows in found.items() for one in promises(chip.split()[0], rows)],
    }


def replay_json(found: Sequence[ReplayCheck], knees: Sequence[Knee]) -> dict[str, Any]:
    """Replays as objects, without their steps."""
    lock = (
        "steps",
        "total_error",
        "by_kind",
        "mean",
        "median",
        "p90",
        "worst",
        "worst_step",
        "same_preemptions",
        "same_times",
    )
    return {
        "replays": [
            {
                "chip": one.replay.chip,
                "name": one.replay.name,
                "lockstep": {key: getattr(one.lockstep, key) for key in lock},
                "free": {
                    "figures": {k: {"executed": a, "predicted": b} for k, (a, b) in one.free.figures.items()},
                    "preempted": {"executed": one.free.preempted[0], "predicted": one.free.preempted[1]},
                    "overlap": one.free.overlap,
                },
                "rate_of_equal_latency": one.rate,
                "peak_bytes": one.peak_bytes and {"executed": one.peak_bytes[0], "predicted": one.peak_bytes[1]},
            }
            for one in found
        ],
        "knees": [asdict(one) for one in knees],
    }
