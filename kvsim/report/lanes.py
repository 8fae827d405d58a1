"""How long a span of steps kept each lane of its replica busy."""

import numpy as np

from kvsim.engine.replica import Replica, Span

LANES = ("gpu", "h2d", "d2h", "cpu")


def lane_seconds(replica: Replica, span: Span) -> tuple[float, float, float, float]:
    """Busy seconds of LANES in a span that was run; the GPU's include waiting for its peers."""
    plan, steps, pricer, serving = span.plan, span.steps, replica.pricer, replica.scheduler.serving
    gpu_s = float(span.gpu_s[:steps].sum()) if isinstance(span.gpu_s, np.ndarray) else span.gpu_s * steps
    h2d_s = d2h_s = 0.0
    if plan.swapped_in_bytes or plan.swapped_out_bytes:
        h2d_s, d2h_s = pricer.swap_s(plan.swapped_in_bytes, 0), pricer.swap_s(0, plan.swapped_out_bytes)
    if pricer.units:
        fetch_s, return_s = pricer.link_busy_s(*pricer.link_bytes(plan.decodes, span.rows, span.chunk, steps), steps)
        h2d_s, d2h_s = h2d_s + fetch_s, d2h_s + return_s
    cpu_s = (serving.cpu_step_s + serving.cpu_seq_s * (plan.decodes + len(plan.chunks))) * steps
    return gpu_s, h2d_s, d2h_s, cpu_s
