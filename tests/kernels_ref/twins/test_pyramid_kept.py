"""PyramidInfer's decode side: blocks of generated tokens are thinned by the newest query."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import kvsim.find as find  # noqa: E402
from kernels_ref.twins.attention import Attended  # noqa: E402
from kernels_ref.twins.made_up import made_up  # noqa: E402
from kernels_ref.twins.part import Setting, part  # noqa: E402
from kernels_ref.twins.slots import Slots  # noqa: E402
from kvsim.traits.policy import policy  # noqa: E402


def small():
    update = {"layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 16, "hidden": 64, "vocab": 64, "window": None}
    return find.model("llama-3-8b").model_copy(update=update)


def test_a_block_leaves_what_its_last_query_attends_to() -> None:
    prompt, every = 10, 4
    one = policy("pyramidinfer:every=4:keep=0.9:generated=0.5:least=100")
    retention = part(one.retention, Setting(one, small(), prompt))
    states = made_up(small(), prompt + every)
    slots = Slots.of(torch.arange(prompt), states.layers[3].keys[:, :prompt], states.layers[3].values[:, :prompt])
    for step in range(every):
        context = prompt + step + 1
        new = states.layers[3].slice(context - 1, context)
        slots = slots.append(torch.tensor([context - 1]), new.keys, new.values)
        shares = torch.full((4, 1, context), 0.1)
        shares[:, 0, 11:12] = 0.5  # the second of the block
        slots = retention.grown(3, slots, new, Attended(shares, slots.position), context)
    left = max(1, int(4 * 0.9 * (0.5 * (np.cos(np.pi * 3 / 4) + 1) / 2 + 0.5)))
    assert left == 2
    assert slots.position.tolist() == [[*range(10), 11, 13]] * 2
