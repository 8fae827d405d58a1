"""Warming up leaves nothing behind, whatever the policy."""

import pytest
from test_policies import CASES
from tiny import burst, execute

from kernels_ref.executor.warmup import warm_up


@pytest.mark.parametrize("text", CASES)
def test_a_warm_executor_holds_nothing(text: str) -> None:
    own = {"kv_blocks": 60, "max_num_batched_tokens": 64, "max_num_seqs": 8} | CASES[text][1]
    _, executor = execute(burst(count=1, longest=250, outputs=5), text, own)
    for held in executor.cache.held.values():
        executor.cache.free(held)
    executor.cache.held.clear()
    pool = executor.cache.pool
    before = pool.held
    warm_up(executor.runner, (pool.count - 1) * executor.cache.page, 64, len(executor.decoder.turns[0]) - 1)
    assert pool.held == before == 0
    if text == "kivi":
        assert len(executor.cache._free_rows) == executor.cache.rows
