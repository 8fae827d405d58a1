"""`kvsim.run`: names in, a report out. The Python twin of the command `kvsim run`."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from kvsim import find
from kvsim.cost.source import DATASHEET, Source, notes
from kvsim.engine.check import checker
from kvsim.engine.serving import Serving
from kvsim.engine.simulate import Observer, Simulation, simulate
from kvsim.errors import UserError, unknown
from kvsim.report.bound import bound
from kvsim.report.energy import method
from kvsim.report.summary import summarize
from kvsim.specs.hardware import Machine
from kvsim.traces.loop import is_closed, note, paced, reuse_notes
from kvsim.traces.reuse import with_outputs
from kvsim.traces.trace import Trace
from kvsim.traits.policy import policy as named_policy

if TYPE_CHECKING:
    from kvsim.engine.executor import ExecutorFactory

REUSES = ("outputs", "prompts")
MOST_REPLICAS = 10_000  # take 0.6 GB
DEFAULTS = {"hw": "h100", "model": "llama-3-8b", "policy": "full", "serving": "vllm"}


@dataclass(frozen=True)
class Report:
    """A finished run. `figures` is what `--json` prints; `simulation` holds every request's times."""

    figures: dict[str, Any]
    simulation: Simulation
    names: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return self.figures


def run(
    trace: str | Path | Trace,
    *,
    hw: str | None = None,
    policy: str | None = None,
    model: str | None = None,
    serving: str | None = None,
    settings: Mapping[str, Any] | None = None,
    replicas: int | None = None,
    tp: int | None = None,
    fidelity: str = "ideal",
    seed: int | None = None,
    limit: int | None = None,
    until_s: float | None = None,
    warmup_s: float = 0.0,
    check: bool = False,
    exact: bool = False,
    columns: Mapping[str, str] | None = None,
    trace_format: str | None = None,
    time_unit: str | None = None,
    dither: str | None = None,
    tokenizer: str | None = None,
    block_tokens: int | None = None,
    max_context: int | None = None,
    loop: str | None = None,
    concurrency: int | None = None,
    max_gap_s: float | None = None,
    sessions_per_s: float | None = None,
    reuse: str = "outputs",
    observers: tuple[Observer, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    executor: "str | ExecutorFactory | None" = None,
    machine: Machine | None = None,
) -> Report:
    """Replay a trace on a machine under a policy.

    Args:
        trace: a Trace, or what names one: a trace file, a workload YAML, a shipped workload. A workload brings
            defaults for the names below.
        hw, policy, model, serving: names, see `kvsim list`; default h100, full, llama-3-8b, vllm.
        settings: fields of the serving preset and the capacity model to override.
        replicas: copies of the system; tp: chips that share a model, default all of the system.
        until_s: stop the clock there. warmup_s: leave earlier arrivals out of the statistics.
        check: verify the invariants after every step. exact: step token by token; the result is the same.
        columns ... max_context: how the trace is read, see `kvsim.traces.read.read_trace`.
        loop: "closed" sends a session's turn when what it waits for has ended, "open" at its stamp; by default closed
            where the trace tells think times. concurrency: sessions at a time, in a closed loop.
        max_gap_s: longest think time. sessions_per_s: sessions begin as a Poisson process of this rate.
        reuse: "outputs": what was generated is cached for the next turn; "prompts": only prompts are.
        observers: called after each span of steps.
        progress: called now and then with the requests that have arrived, and with all of them.
        executor: what runs a replica's steps instead of the cost model: "torch", or what makes one
            (`kvsim.engine.executor`).
        machine: that which `hw` names, if it is to be another than the file's: with other curves, say.

    Raises:
        UserError: anything that a user can mend.
    """
    begun = time.perf_counter()
    if not isinstance(trace, Trace):
        from kvsim.traces.open import open_trace

        _check_names(hw, policy, model, serving, fidelity)
        trace, workload = open_trace(
            trace,
            format=trace_format,
            columns=columns,
            time_unit=time_unit,
            dither=dither,
            limit=limit,
            seed=seed,
            tokenizer=tokenizer,
            block_tokens=block_tokens,
            max_context=max_context,
        )
    else:
        trace, workload = trace.head(limit) if limit else trace, None
    given = {"hw": hw, "policy": policy, "model": model, "serving": serving}
    names: dict[str, str] = {
        key: (getattr(workload, key, None) or DEFAULTS[key]) if value is None else value for key, value in given.items()
    }
    settings = {**(getattr(workload, "set", None) or {}), **(settings or {})}
    machine, chosen = machine or find.machine(names["hw"]), named_policy(names["policy"], fidelity)
    copies = (getattr(workload, "replicas", None) or 1) if replicas is None else replicas
    chips = machine.chips if tp is None else tp
    if chips < 1 or machine.chips % chips:
        raise UserError(f"tp must divide the {machine.chips} chips of {machine.name}, but got {chips}")
    if not 1 <= copies <= MOST_REPLICAS:
        raise UserError(f"replicas must be from 1 to {MOST_REPLICAS:,}, but got {copies}")
    if until_s is not None and not until_s > 0:
        raise UserError(f"until must be more than 0 s, but got {until_s}")
    if not 0 <= warmup_s < float("inf"):
        raise UserError(f"warmup must be at least 0 s, but got {warmup_s}")
    preset = serving_preset(names["serving"], settings)
    if reuse not in REUSES:
        raise unknown("reuse", reuse, REUSES)
    trace = paced(trace, max_gap_s, sessions_per_s, (seed if seed is not None else getattr(workload, "seed", 0)) or 0)
    closed = is_closed(trace, loop or getattr(workload, "loop", None), concurrency)
    if preset.prefix_caching and chosen.reuse == "prefix" and reuse == "outputs":
        extended = with_outputs(trace)
        trace = replace(extended, notes=(*trace.notes, *reuse_notes(trace, extended)))
    runs = find.executor(executor) if isinstance(executor, str) else executor
    total = len(trace)
    simulation = simulate(
        trace,
        machine,
        find.model(names["model"]),
        chosen,
        preset,
        tp=chips,
        replicas=copies * (machine.chips // chips),
        exact=exact,
        until_s=until_s,
        closed=closed,
        concurrency=concurrency,
        observers=(*observers, *((checker,) if check else ())),
        progress=None if progress is None else lambda arrived: progress(arrived, total),
        executor=runs,
    )
    names["trace"] = trace.name
    last_s = np.nanmax(simulation.columns.arrival_s)
    if last_s < warmup_s:
        raise UserError(f"warmup: no request arrives after {warmup_s:g} s, the last one at {last_s:.4g} s")
    figures = summarize(simulation, warmup_s)
    why = bound(simulation, figures, names, fidelity)
    figures["bound"], figures["gpu_time"] = why.sentence, why.gpu_time
    figures["wall_s"] = time.perf_counter() - begun
    figures["names"] = names
    figures["assumptions"] = assumptions(simulation, fidelity, copies, why.sources)
    texts = dict.fromkeys(source.text for _, source in why.sources if source.text != DATASHEET.text)
    rates = "; ".join([*texts, DATASHEET.text])  # some class of Ops is always priced by it
    figures["provenance"] = {"rates": rates, "expected_error": why.expected_error}
    if sending := note(trace, closed, concurrency):
        figures["assumptions"].insert(len(trace.notes), sending)
    return Report(figures, simulation, names)


def _check_names(hw: str | None, policy: str | None, model: str | None, serving: str | None, fidelity: str) -> None:
    """Refuse names that do not exist before a long trace is read."""
    if hw is not None:
        find.machine(hw)
    if model is not None:
        find.model(model)
    if serving is not None:
        serving_preset(serving)
    named_policy(DEFAULTS["policy"] if policy is None else policy, fidelity)


def serving_preset(name: str, settings: Mapping[str, Any] | None = None) -> Serving:
    """The preset `vllm`, or `vllm:max_num_seqs=64`, with `settings` on top: texts, or values of the field's type."""
    base, *pairs = name.split(":")
    kind = find.paper("serving", "serving", base)
    where = f"serving {base!r}"
    values: dict[str, Any] = {}
    hints, fields = get_type_hints(kind), [field.name for field in dataclasses.fields(kind)]
    for key, value in {**dict(pair.partition("=")[::2] for pair in pairs), **(settings or {})}.items():
        if key not in fields:
            raise unknown("setting", key, fields, where)
        values[key] = _setting(value, hints[key], f"{where}: {key}")
    find.check_kernels(values.get("kernels", ""))
    try:
        preset: Serving = kind(**values)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from None
    return preset


def _setting(value: Any, kind: Any, where: str) -> Any:
    """`value` as the field's type; times and sizes may carry units ("2 ms", "1 GiB")."""
    from kvsim import units
    from kvsim.traits.policy import converted

    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UserError(f"{where} must be one of {', '.join(filter(None, get_args(kind)))}, but got {value!r}")
        return value
    if not isinstance(value, str):
        value = str(value)
    if kind is float and value and value[-1].isalpha():
        try:
            return units.parse(value, "s" if where.endswith("_s") else "bytes")
        except ValueError as error:
            raise UserError(f"{where} {error}") from None
    return converted(value, kind, where)


def assumptions(run: Simulation, fidelity: str, copies: int, sources: tuple[tuple[str, Source], ...] = ()) -> list[str]:
    """What a reader must know to trust the figures."""
    layout, serving, machine, trace = run.layout, run.serving, run.machine, run.trace
    model, tp, replicas = layout.geo.model, layout.geo.tp, len(run.replicas)
    found = list(trace.notes)
    shape = f"{replicas} replica{'s' * (replicas > 1)} of {tp} chip{'s' * (tp > 1)}"
    if tp > 1:
        shape += f", joined by {machine.peer_link(tp).name}"
    if replicas > 1:
        shape += f", requests routed {serving.routing.replace('_', ' ')}"
    found.append(shape + (" (one over all chips; --tp for smaller ones)" if tp == machine.chips > 1 else ""))
    found += notes(sources or (("gemm", DATASHEET),))
    found.append(f"policy at {fidelity} fidelity")
    if layout.policy.assumed:
        found.append(f"assumed, not measured: {'; '.join(layout.policy.assumed)}")
    found.append(
        f"host: scheduling {serving.schedule_step_s * 1e3:g} ms a step and {serving.schedule_seq_s * 1e6:g} us a "
        f"sequence, inputs {serving.prepare_step_s * 1e3:g} ms{', hidden by the step before' * serving.asynchronous}; "
        f"{serving.gap_s * 1e3:g} ms between steps; {serving.api_s * 1e3:g} ms for HTTP and tokenizer"
    )
    found.append("outputs have the trace's lengths (a server given max_tokens and told to ignore EOS)")
    if serving.prefix_caching and layout.policy.reuse == "none":
        found.append("this policy's cache cannot be shared between requests: no prefix hits")
    elif serving.prefix_caching and trace.blocks is None:
        found.append("the trace has no prefix hashes: no hits between requests")
    if serving.tiers:
        from kvsim.engine.tierspec import tier_specs
        from kvsim.report.tierwords import tier_notes

        found += tier_notes(serving, [machine.tier(spec.name).kind for spec in tier_specs(serving.tiers)])
    longest = int((run.columns.prompt_tokens + run.columns.output_tokens).max())
    if longest > model.max_context:
        found.append(
            f"requests reach {longest:,} tokens, {model.name} was trained for {model.max_context:,}: cost only, "
            "not quality (--set max_model_len to enforce)"
        )
    found.append(method(run))
    return found
