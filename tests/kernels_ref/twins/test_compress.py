"""The one call, on worked cases and against attention written out here."""

import pytest

torch = pytest.importorskip("torch")

import kernels_ref  # noqa: E402
from kernels_ref.twins.bits import pack, unpack  # noqa: E402
from kernels_ref.twins.cache import begin  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.slots import Slots, best  # noqa: E402
from kernels_ref.twins.states import rotate  # noqa: E402
from kvsim import find  # noqa: E402
from kvsim.errors import UserError  # noqa: E402
from kvsim.specs.model import Model  # noqa: E402

PROMPT, NEW = 150, 9


def tiny(layers: int = 2) -> Model:
    changed = {"layers": layers, "heads": 4, "kv_heads": 2, "head_dim": 32, "hidden": 128, "vocab": 64}
    return find.model("llama-3-8b").model_copy(update=changed)


def split(seed: int = 0):
    whole = made_up(tiny(), PROMPT + NEW, seed)
    return whole.slice(0, PROMPT), whole.slice(PROMPT, PROMPT + NEW)


def dense(prompt, new, layer: int, visible=None):
    """Attention of the new tokens over everything that `visible` [n, T] lets them see, head by head in float64."""
    one, two = prompt.layers[layer], new.layers[layer]
    keys = torch.cat([one.keys, two.keys], 1).double()
    values = torch.cat([one.values, two.values], 1).double()
    n, total = two.queries.shape[1], keys.shape[1]
    causal = torch.arange(total)[None, :] <= torch.arange(total - n, total)[:, None]
    seen = causal if visible is None else causal & visible
    out = []
    for head, queries in enumerate(two.queries.double()):
        scores = queries @ keys[head // 2].T / 32**0.5
        out.append(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values[head // 2])
    return torch.stack(out).float()


def test_the_full_cache_is_attention():
    prompt, new = split()
    found = kernels_ref.compress("full", prompt, new)
    for layer, out in enumerate(found.outputs):
        torch.testing.assert_close(out, dense(prompt, new, layer), atol=2e-3, rtol=2e-3)  # stored at 16 bits
    assert found.stored_bytes == {"hbm": 2 * 2 * PROMPT * 2 * 64} and found.notes == ()
    assert [len(head) for head in found.kept_after[0]] == [PROMPT + NEW] * 2


def test_streaming_sees_sinks_and_a_window_from_every_query():
    prompt, new = split()
    found = kernels_ref.compress("streaming:sinks=3:window=20", prompt, new)
    at, queries = torch.arange(PROMPT + NEW), torch.arange(PROMPT, PROMPT + NEW)
    visible = (at < 3) | (at[None, :] > queries[:, None] - 20)
    torch.testing.assert_close(found.outputs[1], dense(prompt, new, 1, visible), atol=2e-3, rtol=2e-3)
    assert found.kept[0][1].tolist() == [0, 1, 2, *range(130, 150)]
    assert found.kept_after[1][0].tolist() == [0, 1, 2, *range(139, 159)]


def test_tokens_that_were_dropped_are_not_attended_to():
    prompt, new = split()
    found = kernels_ref.compress("snapkv:capacity=30:window=8", prompt, new)
    kept = found.kept[0][0]
    assert len(kept) == 30 and kept[-8:].tolist() == list(range(142, 150))
    visible = torch.zeros(PROMPT + NEW, dtype=torch.bool)
    visible[kept] = visible[PROMPT:] = True
    torch.testing.assert_close(found.outputs[0][:2], dense(prompt, new, 0, visible)[:2], atol=2e-3, rtol=2e-3)


def test_one_token_at_a_time_equals_a_block_where_decoding_changes_nothing():
    prompt, new = split(3)
    at_once, singly = begin("snapkv:capacity=30:window=8", prompt), begin("snapkv:capacity=30:window=8", prompt)
    block = at_once.attend(0, new.layers[0])
    tokens = [singly.attend(0, new.layers[0].slice(i, i + 1)) for i in range(NEW)]
    torch.testing.assert_close(torch.cat(tokens, 1), block, atol=2e-3, rtol=2e-3)


def test_h2o_evicts_the_least_attended_to_outside_of_the_newest():
    prompt, new = split(5)
    cache = begin("h2o:heavy=0.1:recent=0.1", prompt)
    before = cache.slots[0]
    cache.attend(0, new.layers[0].slice(0, 1))
    after = cache.slots[0]
    for head in range(2):
        gone = set(before.position[head].tolist()) - set(after.position[head].tolist())
        sums = before.extra["sums"][head] + cache.last[0].probabilities[2 * head : 2 * head + 2, 0, :-1].sum(0)
        free = before.position[head] < PROMPT + 1 - 15
        assert gone == {int(before.position[head][torch.where(free, sums, torch.inf).argmin()])}


def test_the_same_seed_gives_the_same_tensors():
    prompt, new = split()
    one, two = (kernels_ref.compress("kivi", prompt, new, seed=1) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.outputs, two.outputs, strict=True))


def test_an_unknown_policy_is_one_line():
    with pytest.raises(UserError, match="snapvk"):
        kernels_ref.compress("snapvk", *split())


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_codes_come_out_of_their_bytes(bits):
    codes = torch.randint(0, 2**bits, (3, 37), generator=torch.Generator().manual_seed(bits)).to(torch.uint8)
    packed = pack(codes, bits)
    assert packed.numel() == -(-3 * 37 * bits // 8)
    assert torch.equal(unpack(packed, bits, 3 * 37), codes.reshape(-1))


def test_the_best_slots_of_ragged_heads():
    rank = torch.tensor([[3.0, 1.0, 2.0, 2.0], [1.0, 9.0, 0.0, 5.0]])
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    assert best(rank, torch.tensor([2, 3]), valid).tolist() == [[0, 2, -1], [0, 1, -1]]


def test_taking_and_appending_keep_what_scorers_keep():
    slots = Slots.of(torch.arange(4), torch.randn(2, 4, 8), torch.randn(2, 4, 8))
    slots = slots.with_extra(sums=torch.arange(8.0).reshape(2, 4))
    taken = slots.take(torch.tensor([[0, 3], [1, -1]]))
    assert taken.position.tolist() == [[0, 3], [1, -1]] and taken.extra["sums"][0].tolist() == [0, 3]
    grown = taken.append(torch.tensor([4]), torch.ones(2, 1, 8), torch.ones(2, 1, 8))
    assert grown.counts.tolist() == [3, 2] and grown.extra["sums"][:, -1].tolist() == [0, 0]


def test_rotation_is_undone():
    states = made_up(tiny(), 20)
    one = states.layers[0]
    torch.testing.assert_close(rotate(one.keys, torch.arange(20), states.turns, back=True), one.raw_keys)
