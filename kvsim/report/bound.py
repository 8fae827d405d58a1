"""What bounded a run and what to change, from its lanes, its queue, its pools, and a step at its mean batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kvsim.cost.op import GPU, PEER
from kvsim.cost.source import DATASHEET_ERROR, Source, mean_error
from kvsim.engine.simulate import Simulation
from kvsim.onestep import Step, step
from kvsim.report.labels import Names
from kvsim.report.waiting import waiting
from kvsim.report.words import amount, digits, percent, plural, seconds
from kvsim.traits.placement import DRAM, HBM

# Shares that matter: of a request's life spent waiting, of all waiting with one cause, of requests preempted, or read
# alone ...
WAITING, MOST, THRASHING, ALONE = 0.10, 0.50, 0.10, 0.10
# ... and below which the busiest lane is idle, or a queue comes from bursts.
IDLE, BURSTY = 0.50, 0.85

LANES = Names(
    {
        "gpu": "the GPU",
        "cpu": "the host's CPU",
        "h2d": "the host link to the GPU",
        "d2h": "the host link from the GPU",
        "nvlink": "the link between the chips",
        "nvme_read": "reading flash",
        "nvme_write": "writing flash",
        "csd": "attention in storage",
        "cxl": "the CXL memory",
        "nic": "the network",
        "codec": "the codec",
    }
)

_TIERS = {"nvme_read": "flash", "nvme_write": "flash", "cxl": "CXL memory", "nic": "the network"}
_BESIDE = {
    "csd": "more drives, more or faster flash channels, or an engine that reads fewer pages",
    "cpu": "faster or more host memory channels, or fewer tokens attended to",
}

_COPIES = "write less to the tiers (writes=back or selective), or a policy that stores fewer bytes"

# what GPU time goes to -> (what the GPU does then, what would make it faster)
_WORK = {
    "weights": (
        "streams weights from HBM",
        "smaller weights (--set weight_dtype=fp8) or faster HBM; larger batches cost little more",
    ),
    "cache": ("reads the KV cache from HBM", "a policy that stores or reads less of the cache, or faster HBM"),
    "arithmetic": (
        "computes at its peak FLOP/s, most of it prefill",
        "more FLOP/s or more replicas; a cache policy will not help",
    ),
    "dequantizing": (
        "unpacks the compressed cache on its plain cores",
        "a quantizer that unpacks faster (fp8)",
    ),
    "passes": ("runs element-wise passes over activations", "faster HBM or more replicas"),
    "latency": ("starts kernels too small to fill it", "larger batches, or fewer and larger kernels"),
    "collectives": (
        "waits for all-reduces between chips",
        "fewer chips a replica (--tp), a faster link",
    ),
}


@dataclass(frozen=True)
class Bound:
    """`sentence` says what bounded the run and what to change; `gpu_time` gives the shares of GPU time, by estimate.

    `sources`: where the seconds of each class of Ops come from, and the error to expect of their sum.
    """

    sentence: str
    gpu_time: dict[str, float]
    batch: int
    context: int
    sources: tuple[tuple[str, Source], ...] = ()
    expected_error: float = DATASHEET_ERROR


def bound(run: Simulation, figures: Mapping[str, Any], names: Mapping[str, str], fidelity: str) -> Bound:
    """Why a finished run took as long as it did.

    Args:
        figures: what `summarize` found. names: of hw, model and policy, as `kvsim.step` takes them.
    """
    done = np.isfinite(run.columns.done_s)
    if not done.any():
        return Bound(_nothing(figures), {}, 0, 0)
    batch = max(1, round(sum(r.counters.sequences for r in run.replicas) / max(1, figures["steps"])))
    prompt, output = run.columns.prompt_tokens[done], run.columns.output_tokens[done]
    decodes = np.maximum(output - 1, 1)
    context = max(2, round(float((decodes * (prompt + output / 2)).sum() / decodes.sum())))
    common: dict[str, Any] = {key: names[key] for key in ("hw", "model", "policy")}
    common |= {"tp": run.layout.geo.tp, "fidelity": fidelity, "block_tokens": run.serving.block_tokens}
    common |= {"weight_dtype": run.serving.weight_dtype, "machine": run.machine}
    decode = step(phase="decode", batch=batch, context=context, **common)
    fresh = max(1, round(float(prompt.mean()) * (1 - figures["prefix_hit_ratio"])))
    prefill = step(phase="prefill", batch=1, context=fresh, **common)
    steps = [(decode, float((output - 1).sum()) / batch), (prefill, float(len(prompt)))]
    gpu_time = _shares(steps)
    sources = tuple((op.kind, source) for one, _ in steps for op, source in zip(one.ops, one.sources, strict=True))
    spent = [
        (times * float(np.max(seconds)), source)
        for one, times in steps
        for seconds, source in zip(one.op_seconds, one.sources, strict=True)
    ]
    sentence = _sentence(run, figures, gpu_time, batch)
    return Bound(sentence, gpu_time, batch, context, sources, mean_error(spent))


def _shares(steps: list[tuple[Step, float]]) -> dict[str, float]:
    """Shares of GPU seconds by what they go to, largest first, of steps that are each run so many times."""
    spent: dict[str, float] = {}
    for one, times in steps:
        for op, took, limit in zip(one.ops, one.op_seconds, one.bounds, strict=True):
            if op.lane in (GPU, PEER):
                work = _work(op.kind, limit)
                spent[work] = spent.get(work, 0.0) + times * float(np.max(took))
    total = sum(spent.values())
    return {work: spent[work] / total for work in sorted(spent, key=lambda key: -spent[key])} if total else {}


def _work(kind: str, limit: str) -> str:
    if kind == "all_reduce":
        return "collectives"
    if limit == "latency":
        return "latency"
    if limit == "plain-core arithmetic":
        return "dequantizing" if kind == "attention_decode" else "passes"
    if limit.endswith("FLOPs"):
        return "arithmetic"
    return {"gemm": "weights", "grouped_gemm": "weights", "elementwise": "passes"}.get(kind, "cache")


def _nothing(figures: Mapping[str, Any]) -> str:
    reasons = "; ".join(f"{many:,} because {reason}" for reason, many in figures["rejections"].items())
    if reasons:
        return f"No request was completed: rejected were {reasons}."
    return "No request was completed: the clock stopped too early (--until)."


def _sentence(run: Simulation, figures: Mapping[str, Any], gpu_time: Mapping[str, float], batch: int) -> str:
    busy = figures["busy"]
    lane = max((name for name in busy if name != "nvlink"), key=lambda name: float(busy[name]))
    does, remedy = _pace(run, figures, gpu_time, lane)
    pace = f"{LANES[lane]} is the busiest lane ({percent(busy[lane])}): {does}"
    pace = pace[0].upper() + pace[1:]
    # A queue before a GPU waits for prompts to be read.
    blocked = _blocked(run, figures, busy[lane], _WORK["arithmetic"][1] if lane == "gpu" else remedy)
    if blocked:
        return f"{pace}. {blocked}."
    if busy[lane] < IDLE:
        times = 1 / max(busy[lane], 1e-9)
        return f"Underloaded: the busiest lane, {LANES[lane]}, works {percent(busy[lane])} of the time; " + (
            f"about {digits(times)}x this traffic would fill it." if times < 1e6 else "there is next to nothing to do."
        )
    held = f"{batch:,} of at most {run.serving.max_num_seqs:,} sequences a step"
    return f"{pace}. Few requests wait ({held}), so the system keeps up; to make it faster: {remedy}."


def _pace(run: Simulation, figures: Mapping[str, Any], gpu_time: Mapping[str, float], lane: str) -> tuple[str, str]:
    """(what the busiest lane does, what would make it faster)."""
    moved, steps = figures["bytes_moved"], max(1, figures["steps"])
    if any(replica.pricer.beside and replica.pricer.beside.lane == lane for replica in run.replicas):
        return "every decode step waits for attention there, layer by layer", _BESIDE[lane]
    if lane in _TIERS:
        if run.serving.tiers:
            return f"copies of cached prefixes move {amount(moved[lane])} over it", _COPIES
        return f"every decode step reads the cache from {_TIERS[lane]}", (
            "a nearer tier, more devices side by side, or a policy that stores fewer bytes"
        )
    weights = 1 - run.layout.policy.placement.weights_in(run.layout.geo)[HBM]
    if weights > 0 and lane == "h2d":
        each = amount(moved[lane] / run.layout.geo.tp / steps)
        return f"every step fetches weights and cache that rest elsewhere, {each} a step", (
            "larger batches, which fetch the weights no more often, a better split "
            "(kvsim step --best-split), or a faster link"
        )
    if lane in ("h2d", "d2h") and run.layout.policy.placement.home != HBM:
        each = amount(moved[lane] / run.layout.geo.tp / steps)
        if lane == "d2h" and not run.layout.policy.placement.returns_everything():
            return f"a step writes {each} of new cache back", "a policy that stores fewer bytes, or a faster link"
        does = f"every decode step {'fetches' if lane == 'h2d' else 'returns'} the whole cache, {each} a step"
        return does, "keep the cache in HBM if it fits there, store fewer bytes of it, or take a faster link"
    if lane in ("h2d", "d2h") and run.serving.tiers:
        return f"copies of cached prefixes move {amount(moved[lane])} over it", _COPIES
    if lane in ("h2d", "d2h"):
        return (
            f"preemptions swap {amount(moved[lane])} over it",
            "more room for the cache, or --set preemption=recompute",
        )
    if lane == "cpu":
        cpu = f"{seconds(run.serving.cpu_step_s)} a step and {seconds(run.serving.cpu_seq_s)} a sequence"
        hidden = "" if run.serving.asynchronous else ", or --set asynchronous=true to hide it"
        return f"scheduling takes {cpu}", f"a faster engine loop{hidden}"
    work = next(iter(gpu_time), "passes")
    does, remedy = _WORK[work]
    share = f" ({percent(gpu_time[work])} of its time)" if work in gpu_time else ""
    return f"it mostly {does}{share}", remedy


def _blocked(run: Simulation, figures: Mapping[str, Any], busiest: float, remedy: str) -> str:
    """Why requests wait before their first step, with what to do; empty if they do not."""
    if figures["e2e_s"]["mean"] is None:  # those that were completed all arrived before the warm-up's end
        return ""
    waits_s = figures["queue_s"]["mean"] - run.serving.api_s
    lives_s, step_s = figures["e2e_s"]["mean"], figures["duration_s"] / max(1, figures["steps"])
    many, serving = figures["preemptions"], run.serving
    tier = "host DRAM" if run.layout.policy.placement.home == DRAM else "HBM"
    full = f"the cache's room in {tier} is full" + (f" ({plural(many, 'preemption')})" if many else "")
    full += ": give it more (other hardware, --tp, --replicas), or store fewer bytes per token"
    thrashes = many > THRASHING * figures["requests"]["completed"]
    if not (waits_s > WAITING * lives_s and waits_s > 2 * step_s):
        return full[0].upper() + full[1:] if thrashes else ""
    text = f"Requests wait {seconds(waits_s)} of their {seconds(lives_s)} in the queue, because "
    found = waiting(run, figures["kv_capacity_tokens"])
    if thrashes or found.room > MOST:
        return text + full
    alone = float((run.columns.prompt_tokens > serving.max_num_batched_tokens).mean())
    if not serving.chunked_prefill and alone > ALONE:
        whole = f"{percent(alone)} of prompts exceed max_num_batched_tokens={serving.max_num_batched_tokens}"
        return text + f"{whole} and are read one at a time: raise it, or --set chunked_prefill=true"
    if serving.static_batches:
        return text + "a static batch is held until its longest member is done: --serving vllm admits at every step"
    if found.seats > MOST:
        seats, share = serving.max_num_seqs, percent(pool_share(run))
        more = f"--set max_num_seqs={2 * seats} admits more (the cache's room was {share} full)"
        return text + f"max_num_seqs={seats} sequences run already: {more}"
    if busiest < BURSTY:
        idle = f"with idle time between them ({percent(1 - busiest)})"
        return text + f"they come in bursts, {idle}; what shortens it: {remedy}"
    return text + f"steps are too slow for this traffic; what shortens it: {remedy}"


def pool_share(run: Simulation) -> float:
    """The fullest that the cache's home pool was, over all replicas, 0 to 1."""
    memories = [replica.scheduler.memory for replica in run.replicas]
    return max(memory.peak[1] / memory.capacity[1] for memory in memories)
