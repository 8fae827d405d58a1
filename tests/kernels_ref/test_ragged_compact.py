"""Ragged heads, compaction, the merge and the split arithmetic."""

import pytest
import torch
from data import TOLERANCE, inputs, poisoned

from kernels_ref import pages
from kernels_ref.compact import compact
from kernels_ref.configs import Config
from kernels_ref.merge import merge, merge_reference
from kernels_ref.ragged import decode_ragged, plan
from kernels_ref.reference import attention, error
from kernels_ref.splits import choose

SMALL = Config(block_n=32, warps=4, stages=2)


@pytest.mark.parametrize("kind", ["plain", "outliers"])
def test_ragged_heads(kind, dtype, device):
    q, k, v = inputs(2, 3, 2, 150, 64, dtype, device, kind)
    lengths = torch.tensor([[150, 1, 0], [32, 33, 95]], dtype=torch.int32)
    flat = [x.reshape(6, 1, 150, 64) for x in (k, v)]
    g = torch.Generator().manual_seed(3)
    state = g.get_state()
    k_pages, table = pages.scatter(flat[0], 16, g)
    g.set_state(state)
    v_pages, _ = pages.scatter(flat[1], 16, g)
    n = lengths.to(device)
    the_plan = plan(lengths, SMALL, 2, device)
    assert len(the_plan.tasks) == int(the_plan.first[-1])
    out = decode_ragged(q, k_pages, v_pages, table.view(2, 3, -1), n, the_plan, config=SMALL, out=poisoned(q))
    assert error(out, attention(q, k, v, n)[0]) < TOLERANCE[dtype]


def test_compact_copies_what_is_kept(dtype, device):
    _, k, _ = inputs(2, 2, 1, 100, 96, dtype, device)
    k_pages, table = pages.scatter(k, 16)
    kept = torch.stack([torch.randperm(100)[:70].sort().values for _ in range(4)]).view(2, 2, 70).to(device)
    slots = table.long()[:, None].expand(2, 2, -1).gather(2, kept // 16) * 16 + kept % 16
    lengths = torch.tensor([[70, 0], [1, 65]], dtype=torch.int32, device=device)
    target = torch.full((20, 2, 16, 96), float("nan"), dtype=dtype, device=device)
    new_table = torch.randperm(20)[:10].view(2, 1, 5).expand(2, 2, 5).int().to(device)
    compact(k_pages, target, slots.int(), lengths, new_table)
    moved = pages.gather(target, new_table, 70, 16)
    for b in range(2):
        for h in range(2):
            n = int(lengths[b, h])
            assert torch.equal(moved[b, h, :n], k[b, h, kept[b, h, :n]])
            assert moved[b, h, n:].isnan().all()


@pytest.mark.parametrize("splits", [1, 5, 32, 33, 70])
def test_merge(splits, device):
    g = torch.Generator().manual_seed(splits)
    partial = torch.randn(3 * splits, 2, 96, generator=g).to(device)
    lse = torch.randn(3 * splits, 2, generator=g).to(device)
    lse[0] = float("-inf")
    partial[0] = float("nan")  # an empty split's output is not read
    lse[splits : 2 * splits] = float("-inf")
    out, whole = torch.full((3, 2, 96), float("nan"), device=device), torch.full((3, 2), float("nan"), device=device)
    merge(partial, lse, out, splits=splits, out_lse=whole)
    assert error(out, merge_reference(partial, lse, splits)) < 1e-6
    assert (out[1] == 0).all() and (whole[1] == float("-inf")).all()
    ends = torch.arange(0, 3 * splits + 1, splits, dtype=torch.int32, device=device)
    assert error(merge(partial, lse, torch.empty_like(out), first=ends), out) < 1e-6


@pytest.mark.parametrize(("rows", "tokens"), [(1, 131072), (8, 131072), (64, 4096), (512, 2048), (1, 1), (0, 0)])
def test_splits_cover_all_tokens(rows, tokens):
    split = choose(rows, tokens, 64, 132)
    assert split.tokens % 64 == 0
    assert split.splits * split.tokens >= tokens
    assert split.splits == 1 or (split.splits - 1) * split.tokens < tokens
