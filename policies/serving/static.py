"""Static batching, as FasterTransformer does it: a batch runs until its longest member ends."""

from dataclasses import dataclass

from kvsim.engine.serving import Admission, Serving


@dataclass(frozen=True)
class Static(Serving):
    """Batches of up to 32 requests, read whole, padded to the longest output."""

    max_num_seqs: int = 32
    max_num_batched_tokens: int = 8192
    chunked_prefill: bool = False
    static_batches: bool = True
    admission: Admission = "reserve_output"
    graph_tokens: int = 0
