"""vLLM's V1 engine as of 2025-26: chunked prefill, prefix caching, asynchronous scheduling. vllm-project/vllm."""

from dataclasses import dataclass

from kvsim.engine.serving import Serving


@dataclass(frozen=True)
class Vllm(Serving):
    """Defaults of `vllm serve` on one GPU: 2,048 tokens a step, 256 sequences, blocks of 16 with one null block."""

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    null_blocks: int = 1
    prefix_caching: bool = True
    asynchronous: bool = True
