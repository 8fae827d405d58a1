"""What is kept for each slot while decoding goes on, against histories written down step by step."""

import pytest

torch = pytest.importorskip("torch")

from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402

from .naive import attention, group  # noqa: E402
from .test_compress import tiny  # noqa: E402

PROMPT, STEPS = 24, 9


@pytest.fixture(scope="module")
def whole():
    return made_up(tiny(1), PROMPT + STEPS, seed=2)


def decoded(text: str, whole, steps: int = STEPS):
    cache = begin(text, whole.slice(0, PROMPT))
    for step in range(PROMPT, PROMPT + steps):
        cache.attend(0, whole.layers[0].slice(step, step + 1))
    return cache


def shown(whole, kv_head: int):
    """[T, T] of each query head of a group; nothing is evicted, so that every step sees all."""
    return torch.stack([attention(whole.layers[0], head) for head in group(whole.layers[0], kv_head)])


def test_scissorhands_remembers_a_bit_a_step(whole):
    window = 12
    cache = decoded(f"scissorhands:budget=100:drop=0.1:history={window}:recent=2", whole)
    now = PROMPT + STEPS - 1
    history, rank = cache.slots[0].extra["history"], cache.retention.scorer.rank(0, cache.slots[0], None)
    assert history.shape == (2, PROMPT + STEPS, 2)
    for kv_head in range(2):
        mean = shown(whole, kv_head).mean(0)
        for at in range(PROMPT + STEPS):
            steps = [t for t in range(now - window + 1, now + 1) if t >= at]
            idle = sum(float(mean[t, at]) <= 1 / (t + 1) for t in steps)
            assert rank[kv_head, at] == -idle


def test_scissorhands_drops_the_idle_at_once(whole):
    cache = begin("scissorhands:budget=30:drop=0.2:history=8:recent=3", whole.slice(0, PROMPT))
    sizes = []
    for step in range(PROMPT, PROMPT + STEPS):
        cache.attend(0, whole.layers[0].slice(step, step + 1))
        sizes.append(int(cache.slots[0].counts[0]))
    assert sizes == [25, 26, 27, 28, 29, 24, 25, 26, 27]
    assert {30 - 1, 30, 31, 32} <= set(cache.kept()[0][0].tolist())  # the three newest of that step stayed


def test_lazyeviction_counts_gaps_between_uses(whole):
    threshold = 0.02
    cache = decoded(f"lazyeviction:budget=100:window=5:threshold={threshold}", whole)
    slots = cache.slots[0]
    for kv_head in range(2):
        most = shown(whole, kv_head).amax(0)
        for at in range(PROMPT + STEPS):
            last, gap = at, 0
            for t in range(max(PROMPT - 1, at), PROMPT + STEPS):  # from the prompt's last query on
                if most[t, at] > threshold:
                    last, gap = t, max(gap, t - last)
            assert (int(slots.extra["last"][kv_head, at]), int(slots.extra["gap"][kv_head, at])) == (last, gap)


def test_morphkv_fuses_the_rows_of_the_last_queries(whole):
    for fusion in ("sum", "max"):
        cache = decoded(f"morphkv:capacity=100:window=6:fusion={fusion}", whole)
        rank = cache.retention.scorer.rank(0, cache.slots[0], None)
        for kv_head in range(2):
            rows = shown(whole, kv_head)[:, -6:]
            expected = rows.sum((0, 1)) if fusion == "sum" else rows.amax(1).sum(0)
            torch.testing.assert_close(rank[kv_head].double(), expected, atol=5e-3, rtol=5e-3)  # rows are fp16


def test_morphkv_has_one_size_and_its_window(whole):
    cache = decoded("morphkv:capacity=20:window=6", whole)
    for head in cache.kept()[0]:
        assert len(head) == 20 and head.tolist()[-6:] == list(range(PROMPT + STEPS - 6, PROMPT + STEPS))


def test_hashevict_gives_up_the_farthest_code_before_attention(whole):
    cache = begin("hashevict:keep=0.5:bits=12", whole.slice(0, PROMPT))
    signs = lambda rows: rows.double() @ cache.retention.scorer.projection.double() > 0  # noqa: E731
    for step in range(PROMPT, PROMPT + STEPS):
        before = [head.tolist() for head in cache.kept()[0]]
        new = whole.layers[0].slice(step, step + 1)
        out = cache.attend(0, new)
        for kv_head, head in enumerate(cache.kept()[0]):
            keys = whole.layers[0].keys[kv_head]
            own = [signs(whole.layers[0].queries[h, step]) for h in group(whole.layers[0], kv_head)]
            far = {at: sum(int((signs(keys[at]) != code).sum()) for code in own) for at in before[kv_head]}
            (gone,) = set(before[kv_head]) - set(head.tolist())
            assert far[gone] == max(far.values()) and step in head.tolist() and len(head) == PROMPT // 2
            stay = head.long()
            for h in group(whole.layers[0], kv_head):
                weights = (keys[stay].double() @ whole.layers[0].queries[h, step].double() / 32**0.5).softmax(0)
                expected = weights @ whole.layers[0].values[kv_head][stay].double()
                torch.testing.assert_close(out[h, 0].double(), expected, atol=3e-3, rtol=3e-3)
