"""Sarathi-Serve: Taming Throughput-Latency Tradeoff in LLM Inference. arXiv:2403.02310, microsoft/sarathi-serve.

Stall-free batching: decodes first, prefill chunks fill a small token budget; planned and run in turn.
"""

from dataclasses import dataclass

from kvsim.engine.serving import Serving


@dataclass(frozen=True)
class Sarathi(Serving):
    """Budget of 512 tokens, 128 sequences, 1 % of the blocks left free by admission."""

    max_num_seqs: int = 128
    max_num_batched_tokens: int = 512
    watermark: float = 0.01
