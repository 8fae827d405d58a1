"""A tiny model, traces that press its memory, and a plain dense forward pass to compare with."""

import numpy as np
import torch

import kvsim.find as find
from kernels_ref.executor.shape import Shape, shape_of
from kernels_ref.executor.stepgrid import TINY
from kernels_ref.executor.torch_executor import Options, TorchExecutor
from kernels_ref.executor.weights import drawn
from kvsim.engine.check import checker
from kvsim.engine.simulate import Simulation, simulate
from kvsim.replay import serving_preset
from kvsim.specs.model import Model
from kvsim.traces.trace import Blocks, Trace
from kvsim.traits.policy import policy

MODEL = Model(
    name="tiny", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=32, ffn=96, vocab=64, max_context=4096,
    dtype="fp16", qkv_bias=True,
)  # fmt: skip


def burst(count: int = 12, longest: int = 150, shared: bool = False, outputs: int = 70, seed: int = 3) -> Trace:
    """Requests that arrive close together; with `shared`, half of the prompts begin with the same blocks."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(20, longest, count)
    arrival = np.sort(rng.uniform(0, 0.02, count))
    blocks = None
    if shared:
        counts = -(-prompts // 32)
        ids = [[j if j < 2 and i % 2 else 100 * (i + 1) + j for j in range(n)] for i, n in enumerate(counts)]
        blocks = Blocks(np.concatenate(ids), np.concatenate([[0], np.cumsum(counts)]), 32)
    return Trace("burst", arrival - arrival[0], prompts, rng.integers(1, outputs, count), blocks)


def fixed(step, ran) -> float:
    """Seconds of a step that do not depend on this machine."""
    return 1e-3 * (1 + len(step.decoding)) + 1e-5 * sum(seq.chunk for seq in step.chunks)


def execute(
    trace: Trace,
    text: str,
    own: dict[str, object],
    model: Model = MODEL,
    made=None,
    hw: str = "h100",
    **options: object,
):
    """(simulation, executor) of a run under the invariants, bytes compared after every step."""
    made = [] if made is None else made

    def factory(simulation: Simulation, replica):
        made.append(TorchExecutor(simulation, replica, Options(device="cpu", check=True, clock=fixed, **options)))
        return made[-1]

    machine = find.machine(hw)
    run = simulate(
        trace, machine, model, policy(text), serving_preset("vllm", own),
        executor=factory, observers=(checker,), tp=machine.chips,
    )  # fmt: skip
    return run, made[0]


def dense_logits(shape: Shape, tokens: list[int], seed: int = 0) -> torch.Tensor:
    """Logits [tokens, vocab] of a plain forward pass in float64 over all tokens at once."""
    named = drawn(shape, "cpu", seed)

    def weight(name: str) -> torch.Tensor:
        return named(name).double()

    def norm(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt()

    n, dim = len(tokens), shape.dim
    angle = torch.arange(n)[:, None] * shape.rope_theta ** (-torch.arange(0, dim, 2).double() / dim)

    def turned(x: torch.Tensor) -> torch.Tensor:
        low, high = x.chunk(2, -1)
        cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
        return torch.cat([low * cosine - high * sine, high * cosine + low * sine], -1)

    x = weight("model.embed_tokens.weight")[tokens]
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    for i in range(shape.layers):
        at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        normed = norm(x)
        q, k, v = (
            (normed @ weight(f"{at}.{p}_proj.weight").T + weight(f"{at}.{p}_proj.bias")).unflatten(1, (-1, dim))
            for p in "qkv"
        )
        q, k = turned(q), turned(k)
        group = shape.heads // shape.kv_heads
        k, v = (y.repeat_interleave(group, 1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) * dim**-0.5
        mixed = torch.einsum("hqk,khd->qhd", scores.masked_fill(future, float("-inf")).softmax(-1), v)
        x = x + mixed.flatten(1) @ weight(f"{at}.o_proj.weight").T
        normed = norm(x)
        gate, up = (normed @ weight(f"{mlp}.{p}_proj.weight").T for p in ("gate", "up"))
        x = x + (torch.nn.functional.silu(gate) * up) @ weight(f"{mlp}.down_proj.weight").T
    return norm(x) @ weight("lm_head.weight").T


def check_greedy(executor: TorchExecutor, run: Simulation, tolerance: float = 0.05) -> int:
    """Every generated token is the dense pass's likeliest, or as likely within what fp16 rounds; exact matches."""
    shape, exact, total = shape_of(MODEL), 0, 0
    for request in np.flatnonzero(~run.columns.rejected):
        tokens = executor.texts.of(request)
        prompt = int(run.columns.prompt_tokens[request])
        assert len(tokens) == prompt + int(run.columns.output_tokens[request])
        logits = dense_logits(shape, tokens)[prompt - 1 : -1]
        chosen = logits.gather(1, torch.tensor(tokens[prompt:])[:, None])[:, 0]
        assert (logits.max(1).values - chosen).max() < tolerance
        exact += int((logits.argmax(1) == torch.tensor(tokens[prompt:])).sum())
        total += len(chosen)
    assert exact >= 0.99 * total
    return total


SPEC = TINY + "qkv_bias: true\n"
