"""vLLM's V1 engine as of 2025-26: chunked prefill, prefix caching, asynchronous scheduling. vllm-project/vllm.

What its host costs, each figure with its source. None comes from the runs that docs/validation.md holds it to.

- schedule_step_s, schedule_seq_s: the engine's loop with an executor that does nothing, vLLM 0.27: 0.54 ms a step, a
  fifth of it the executor, and 12.7 us more for each running request (openfabric-systems/simllm#204, one CPU; its
  authors call the figures diagnostic, for repeated runs drifted by 30 %).
- prepare_step_s: Llama-3.2-1B decoded one request at 2.64 ms a token before any of it was hidden (vllm#17866, median);
  2.5 GB of weights take some 1.1 ms, scheduling 0.4.
- gap_s: what asynchronous scheduling was expected to leave between two decodes, 200 to 300 us (vllm#10634).
- api_s: SGLang, whose server is built alike (HTTP, tokenizer and scheduler in Python processes), answered `vllm bench
  serve` with a first token after 9.54 ms when its forward was a wait of 2.63 ms (tt-inference-server#3560), of which
  0.31 ms were a step's own overhead: 6.6 ms there and back. Another engine's figure, for want of one of vLLM's.
  What is done with outputs (tokens to text) is in it too: the API's process does that beside the engine's loop.
- mixed_graphs, graph_tokens: `cudagraph_mode` FULL_AND_PIECEWISE and the captured sizes of vllm/config/compilation.py.
- layer_kernels: norms with their residual, rotary, silu_and_mul and reshape_and_cache are one kernel each.
- kernels: those that vLLM ships or calls, where somebody measured them on the chip and its links.
- launch_s: of a kernel through torch, measured (kvsim/engine/serving.py).
"""

from dataclasses import dataclass

from kvsim.cost.overheads import Graphs
from kvsim.engine.serving import Serving


@dataclass(frozen=True)
class Vllm(Serving):
    """Defaults of `vllm serve` on one GPU: 2,048 tokens a step, 256 sequences, blocks of 16 with one null block."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    null_blocks: int = 1
    prefix_caching: bool = True
    asynchronous: bool = True
    mixed_graphs: Graphs = "piecewise"
    schedule_step_s: float = 0.43e-3
    schedule_seq_s: float = 12.7e-6
    prepare_step_s: float = 1.1e-3
    gap_s: float = 0.25e-3
    kernels: str = "of vLLM"
    api_s: float = 6.6e-3
