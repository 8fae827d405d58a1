"""kvsim's own executor (kernels_ref/executor), whose GPU seconds are what a replay is timed by: no host, no API.

Decodes run as CUDA graphs. Scheduling is vLLM's, so that executed and simulated schedules can be compared with it.
"""

from dataclasses import dataclass

from kvsim.cost.overheads import Graphs
from kvsim.engine.serving import Serving


@dataclass(frozen=True)
class Executor(Serving):
    """vLLM's batches and blocks; what the host does is not timed, but for kernels that it launches one by one."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    prefix_caching: bool = True
    mixed_graphs: Graphs = "none"
    schedule_step_s: float = 0.0
    schedule_seq_s: float = 0.0
    prepare_step_s: float = 0.0
    api_s: float = 0.0
