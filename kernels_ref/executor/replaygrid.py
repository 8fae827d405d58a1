"""The replays that `kernels_ref.executor.replays` runs: which requests, under which policy, with how much memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kvsim.errors import UserError
from kvsim.traces.read import read_trace
from kvsim.traces.trace import Trace

AZURE = "AzureLLMInferenceTrace_code.csv"
MOONCAKE = "conversation_trace.jsonl.gz"
SYSTEM_BLOCKS = 2  # that conversations have in common


@dataclass(frozen=True)
class Replay:
    """`requests(folder)` makes the trace, `folder` being where published ones lie. A `family` differs in rate alone."""

    name: str
    requests: Callable[[Path | None], Trace]
    policy: str = "full"
    settings: Mapping[str, Any] = field(default_factory=dict)
    family: str = ""


def _published(folder: Path | None, file: str, rows: range, faster: float, max_context: int | None = None) -> Trace:
    """Rows of a published trace from `folder`, arriving `faster`."""
    path = None if folder is None else folder / file
    if path is None or not path.is_file():
        raise UserError(f"{file} is not in {folder}; name its folder by --traces")
    whole = read_trace(path, limit=rows.stop, max_context=max_context)
    part = whole.take(np.arange(rows.start, min(rows.stop, len(whole))))
    return replace(part, arrival_s=(part.arrival_s - part.arrival_s[0]) / faster, dropped={}, notes=())


def azure(rows: range, faster: float = 1.0) -> Callable[[Path | None], Trace]:
    """Code completions of Azure's trace of 2023."""
    return lambda folder: _published(folder, AZURE, rows, faster)


def mooncake(rows: range, within: int, count: int, span_s: float) -> Callable[[Path | None], Trace]:
    """`count` requests of Mooncake's conversations (FAST 2025) that are continued within `within` others, in `span_s`.

    Up to 32k tokens; the blocks' hashes say what of a prompt was there before.
    """

    def make(folder: Path | None) -> Trace:
        whole = _published(folder, MOONCAKE, rows, 1.0, 32_768)
        blocks, last, kept = whole.blocks, dict[int, int](), set[int]()
        assert blocks is not None
        for i in range(len(whole)):
            ids = blocks.ids[blocks.start[i] : blocks.start[i + 1]]
            if len(ids) <= SYSTEM_BLOCKS:
                continue
            own = int(ids[SYSTEM_BLOCKS])
            if own in last and i - last[own] <= within:
                kept |= {i, last[own]}
            last[own] = i
        part = whole.take(np.array(sorted(kept)[:count]))
        gone_s = part.arrival_s - part.arrival_s[0]
        return replace(part, arrival_s=gone_s * (span_s / gone_s[-1]))

    return make


def drawn(count: int, per_s: float, prompt: int, output: int, seed: int) -> Callable[[Path | None], Trace]:
    """Poisson arrivals; log-normal lengths about these medians, four times (prompts) and thrice (outputs) at most."""

    def make(folder: Path | None) -> Trace:
        rng = np.random.default_rng(seed)
        arrival = np.cumsum(rng.exponential(1 / per_s, count))
        prompts = np.clip(rng.lognormal(np.log(prompt), 0.8, count), 16, 4 * prompt).astype(np.int64)
        outputs = np.clip(rng.lognormal(np.log(output), 0.6, count), 4, 3 * output).astype(np.int64)
        return Trace(f"drawn-{seed}", arrival - arrival[0], prompts, outputs)

    return make


_CODE = range(600, 810)
_KV = {"kv_blocks": 12_000}

REPLAYS = (
    Replay("azure-code", azure(_CODE), settings=_KV, family="azure-code"),
    Replay(
        "kivi-pressure",
        drawn(200, 12.0, 900, 150, 1),
        "kivi",
        {"kv_blocks": 128, "block_tokens": 128, "preemption": "swap", "max_num_seqs": 64},
    ),
    Replay(
        "snapkv-pressure",
        drawn(100, 9.0, 1200, 300, 3),
        "snapkv:capacity=512",
        {"kv_blocks": 420, "preemption": "swap", "max_num_seqs": 64},
    ),
    Replay("headinfer-pressure", drawn(30, 6.0, 5000, 10, 6), "headinfer", {"kv_blocks": 1024, "max_num_seqs": 12}),
    Replay("azure-code-dense", azure(_CODE, 2.6), settings=_KV, family="azure-code"),
    Replay("mooncake", mooncake(range(1500), 150, 28, 18.0), settings={"kv_blocks": 16_000, "max_num_seqs": 64}),
    Replay("long-outputs", drawn(100, 8.0, 150, 800, 4), settings={**_KV, "max_num_seqs": 128}),
    Replay(
        "full-pressure",
        drawn(200, 12.0, 900, 150, 5),
        settings={"kv_blocks": 1200, "preemption": "swap", "max_num_seqs": 64},
    ),
    Replay("azure-code-x1_8", azure(_CODE, 1.8), settings=_KV, family="azure-code"),
    Replay("azure-code-x3_4", azure(_CODE, 3.4), settings=_KV, family="azure-code"),
)

_FEW = {"max_num_batched_tokens": 64, "max_num_seqs": 4}
TINY = (
    Replay("drawn", drawn(3, 200.0, 20, 4, 1), settings={"kv_blocks": 30, **_FEW}),
    Replay("short", drawn(1, 200.0, 4, 3, 3), settings={"kv_blocks": 30, **_FEW}),
    Replay("headinfer", drawn(2, 200.0, 16, 3, 2), "headinfer", {"kv_blocks": 32, **_FEW}),
)
