"""Orca: A Distributed Serving System for Transformer-Based Generative Models. OSDI 2022, Yu et al.

Iteration-level scheduling with selective batching: prompts are read whole beside the running decodes, and a request
reserves room for its longest output on admission (section 4.2), so that nothing is ever preempted.
"""

from dataclasses import dataclass

from kvsim.engine.serving import Admission, Serving


@dataclass(frozen=True)
class Orca(Serving):
    """Whole prompts, reserved outputs."""

    max_num_seqs: int = 128
    max_num_batched_tokens: int = 8192
    chunked_prefill: bool = False
    admission: Admission = "reserve_output"
    graph_tokens: int = 0
