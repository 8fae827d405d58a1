"""Steps that nobody times: they compile kernels and leave the allocator with blocks of the sizes to come."""

from collections.abc import Sequence as Several

import torch
from torch.nn.functional import linear

from kernels_ref.executor.cache import Cache
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.runner import Runner
from kvsim.engine.executor import Step
from kvsim.engine.scheduler import Plan
from kvsim.engine.sequence import Sequence

EMITTING = 256  # rows at most that go through the head
Decodes = tuple[int, int, int]  # (sequences, context after the step, prompt)
Chunk = tuple[int, int]  # (new tokens, past tokens)


class Words:
    """The same tokens for every request."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens = tokens

    def of(self, request: int) -> list[int]:
        """All of them."""
        return self._tokens


def words(count: int, vocab: int) -> Words:
    """`count` random tokens."""
    return Words(torch.randint(vocab, (count,), generator=torch.Generator().manual_seed(1)).tolist())


def step_of(decodes: Several[Decodes], reads: Several[Chunk], cache: Cache) -> Step:
    """A step as the engine would hand it over; the cache then holds what its sequences have seen."""
    decoding, chunks = [], []
    for count, context, prompt in decodes:
        for _ in range(count):
            seq = Sequence(len(decoding), prompt, context, 0.0)
            seq.tokens, seq.order = context - 1, len(decoding)
            cache.adopt(seq.index, prompt, context - 1)
            decoding.append(seq)
    for new, past in reads:
        seq = Sequence(len(decoding) + len(chunks), past + new, 1, 0.0)
        seq.computed, seq.chunk = past, new
        cache.adopt(seq.index, past + new, past)
        chunks.append(seq)
    plan = Plan(len(decoding), chunks, 1, False)
    return Step(0, 0.0, False, plan, tuple(decoding), tuple(chunks), 0, (), ())


def load_products(decoder: Decoder, rows: Several[int]) -> None:
    """Runs one layer's products and the head's for so many rows: cuBLAS loads each of its kernels when it first takes
    it, for which the host waits until the GPU is idle."""
    layer, head = decoder.weights.layers[0], decoder.weights.head
    products = [(layer.qkv, layer.qkv_bias), (layer.o, None), (layer.gate_up, None), (layer.down, None), (head, None)]
    for weight, bias in products:
        x = torch.zeros(max(rows), weight.shape[1], dtype=weight.dtype, device=weight.device)
        for count in rows if weight is not head else [count for count in rows if count <= EMITTING]:
            linear(x[:count], weight, bias)


def warm_up(runner: Runner, room_tokens: int, budget_tokens: int, longest: int) -> None:
    """Loads products' kernels, then runs prompts of several lengths, alone and beside decodes, as far as `room_tokens`
    allow."""
    load_products(runner.decoder, range(1, budget_tokens + 1, 3))
    most = min(budget_tokens, longest - 1, room_tokens // 2)
    past = max(0, min(longest - most - 1, room_tokens // 2 - most))
    text = words(longest + most + 1, runner.decoder.shape.vocab)
    tries: list[tuple[list[Decodes], list[Chunk]]] = [([], [(most, 0)])]
    tries += [([], [(new, old)]) for new in (most, most - 7, most // 3) for old in (0, past, past // 2 + 5)]
    tries += [([(3, min(40, most), 20)], [(most - 3, 0)]), ([(3, min(300, most), 20)], [(most // 2, past // 3 + 1)])]
    for decodes, reads in tries:
        if any(new < 1 or old < 0 for new, old in reads):
            continue
        step = step_of(decodes, reads, runner.cache)
        try:
            batch = runner.cache.prepare(step, text)  # type: ignore[arg-type]
            runner.run(batch)
        finally:
            runner.cache.clear()
