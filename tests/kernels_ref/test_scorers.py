"""Scorers against float64 with the whole attention matrix, and against what each paper's definition says."""

import pytest
import torch
from data import inputs

from kernels_ref import scorers
from kernels_ref.reference import error

TOLERANCE = {torch.float16: 2e-3, torch.bfloat16: 4e-3}


def queries(batch, heads, n, dim, dtype, device, seed=3):
    return torch.randn(batch, heads, n, dim, generator=torch.Generator().manual_seed(seed)).to(device, dtype)


@pytest.mark.parametrize("kind", ["plain", "outliers"])
@pytest.mark.parametrize(("group", "n", "dim"), [(1, 32, 64), (4, 8, 96), (7, 1, 128), (2, 40, 64)])
def test_column_sums(group, n, dim, kind, dtype, device):
    _, k, _ = inputs(3, 2, group, 200, dim, dtype, device, kind)
    q = queries(3, 2 * group, n, dim, dtype, device)
    lengths = torch.tensor([200, 129, 45], dtype=torch.int32, device=device)
    into = torch.full(k.shape[:3], float("nan"), device=device)
    got = scorers.column_sums(q, k, lengths, into=into)
    assert error(got, scorers.column_sums_reference(q, k, lengths)) < TOLERANCE[dtype]
    assert torch.allclose(got.sum(-1), torch.tensor(float(group * n), device=device), rtol=1e-3)  # rows sum to one


@pytest.mark.parametrize("tokens", [1, 2, 63, 64, 65, 127, 128, 129])
def test_around_block_boundaries(tokens, dtype, device):
    _, k, _ = inputs(4, 1, 2, tokens, 64, dtype, device)
    q = queries(4, 2, 4, 64, dtype, device)
    lengths = torch.tensor([tokens, tokens - 1, 0, 1], dtype=torch.int32, device=device)
    got = scorers.column_sums(q, k, lengths)
    assert error(got, scorers.column_sums_reference(q, k, lengths)) < TOLERANCE[dtype]
    assert (got[2] == 0).all()


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_snapkv_pools_the_prefix_and_keeps_the_window(pool, dtype, device):
    _, k, _ = inputs(2, 2, 2, 90, 64, dtype, device)
    q = queries(2, 4, 8, 64, dtype, device)
    lengths = torch.tensor([90, 60], dtype=torch.int32, device=device)
    votes = scorers.snapkv(q, k, lengths, kernel=5, pool=pool)
    sums = scorers.column_sums_reference(q, k, lengths) / 2
    for b, n in enumerate((90, 60)):
        padded = torch.nn.functional.pad(sums[b, :, : n - 8], (2, 2)).unfold(-1, 5, 1)
        want = padded.mean(-1) if pool == "avg" else padded.amax(-1)
        assert error(votes[b, :, : n - 8], want) < TOLERANCE[dtype]
        assert (votes[b, :, n - 8 : n] == float("inf")).all()
        assert (votes[b, :, n:] == float("-inf")).all()


def test_h2o_prefill_then_steps_equal_one_long_prefill(dtype, device):
    _, k, _ = inputs(1, 2, 2, 70, 64, dtype, device)
    q = queries(1, 4, 70, 64, dtype, device)
    whole = scorers.h2o_prefill(q, k, torch.tensor([70], dtype=torch.int32, device=device))
    scores = scorers.h2o_prefill(q[:, :, :68].contiguous(), k, torch.tensor([68], dtype=torch.int32, device=device))
    for n in (69, 70):
        length = torch.tensor([n], dtype=torch.int32, device=device)
        scores = scorers.h2o_step(q[:, :, n - 1], k, length, scores)
    assert error(scores, whole) < 1e-4
    assert error(whole, scorers.column_sums_reference(q, k, length)) < TOLERANCE[dtype]


def test_tova_is_the_mean_over_all_heads(dtype, device):
    _, k, _ = inputs(2, 2, 2, 50, 64, dtype, device)
    q = queries(2, 4, 1, 64, dtype, device)
    lengths = torch.tensor([50, 1], dtype=torch.int32, device=device)
    got = scorers.tova(q[:, :, 0], k, lengths)
    assert error(got, scorers.column_sums_reference(q, k, lengths).sum(1) / 4) < TOLERANCE[dtype]
    assert torch.allclose(got.sum(-1), torch.ones(2, device=device), rtol=1e-3)
