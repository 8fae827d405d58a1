"""The full and fp8 caches: greedy tokens under chunking, prefix hits, preemption and swapping equal a dense pass's."""

import pytest
from tiny import burst, check_greedy, execute

TIGHT = {"kv_blocks": 22, "max_num_batched_tokens": 64, "max_num_seqs": 8}


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
@pytest.mark.parametrize("shared", [False, True])
def test_greedy_tokens_equal_a_dense_pass(preemption: str, shared: bool) -> None:
    run, executor = execute(burst(shared=shared, outputs=50), "full", TIGHT | {"preemption": preemption})
    assert check_greedy(executor, run) > 100
    counters = run.replicas[0].counters
    assert run.columns.preemptions.sum() > 2
    assert (counters.swapped_in_bytes > 0) == (preemption == "swap")
    assert (counters.hit_tokens > 0) or not shared
