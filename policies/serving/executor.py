"""kvsim's own executor (kernels_ref/executor), whose GPU seconds are what a replay is timed by: no host, no API.

Decodes run as CUDA graphs, steps with prompts kernel by kernel. Rotary and the cache write are one kernel, sampling is
a maximum, and a chunk's past is gathered from its pages before attention. Scheduling is vLLM's. launch_s is none:
where launches would pace a step (up to 1,500 rows) the GPU is kept waiting, untimed, until they are through; Python's
eager kernels took some 60 us each on an H100's host. gap_s: what a graphed step takes longer alone than in a series:
its inputs' copy and the graph's launch; median of 16 on an H100 (alone_s - seconds of `python -m
kernels_ref.executor.steps`).
"""

from dataclasses import dataclass

from kvsim.cost.overheads import Graphs
from kvsim.engine.serving import Serving


@dataclass(frozen=True)
class Executor(Serving):
    """vLLM's batches and blocks; what the host does is not timed."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    prefix_caching: bool = True
    asynchronous: bool = True
    mixed_graphs: Graphs = "none"
    layer_kernels: int = 4
    sampling_kernels: int = 1
    joins_past: bool = True
    launch_s: float = 0.0
    schedule_step_s: float = 0.0
    schedule_seq_s: float = 0.0
    prepare_step_s: float = 0.0
    gap_s: float = 53e-6
    as_executed: bool = True
    api_s: float = 0.0
