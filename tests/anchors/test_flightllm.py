"""FlightLLM's artifact (FlightLLM/flightllm_test_demo): six timings of the VHK158, 55 token/s on a U280, and the GPU.

The artifact computes the head for every prompt token and keeps it at 4 bits; kvsim computes it for one token and keeps
it at 16 bits. Both differences are computed here, not hidden in a tolerance.
"""

from functools import cache

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.devices.fpga import cycles_per_s, memory_bytes_per_s
from kvsim.specs.chips import Chip, Fpga

# (prompt, answer) -> ms of (prefill, decode), profile/README.md; and its GPU column, an 80 GB A100 by its block count
TIMINGS = {
    (128, 512): (289.9, 4946.4), (128, 1024): (289.9, 10318.6), (128, 1536): (289.9, 16103.1),
    (512, 512): (1181.4, 5269.0), (512, 1024): (1181.4, 10950.5), (512, 1536): (1181.4, 17044.3),
}  # fmt: skip
GPU_TIMINGS = {(128, 512): (17.6, 5727.0), (512, 512): (40.4, 5879.7)}
HEAD = 4096 * 32000


@cache
def seconds(hw: str, prompt: int, answer: int) -> tuple[float, float]:
    """(prefill, decode) seconds of a whole answer at batch 1."""
    overlay = hw in ("u280", "vhk158")
    policy, dtype = ("flightllm", "int4") if overlay else ("full", "bf16")
    shape = {"hw": hw, "model": "llama-2-7b", "policy": policy, "weight_dtype": dtype}
    prefill = kvsim.step(**shape, phase="prefill", context=prompt)  # type: ignore[arg-type]
    decode = kvsim.step(**shape, phase="decode", context=prompt + np.arange(1, answer + 1))  # type: ignore[arg-type]
    return float(prefill.seconds), float(np.sum(decode.seconds))


def overlay_of(name: str) -> tuple[Chip, Fpga]:
    chip = find.machine(name).chip
    assert chip.fpga is not None
    return chip, chip.fpga


@pytest.mark.parametrize(("prompt", "answer"), TIMINGS)
def test_decode_on_the_vhk158(prompt: int, answer: int) -> None:
    """103.5 token/s at 128 + 512 to 90.1 at 512 + 1536: within 4 %, and within 1 % with the head at 4 bits."""
    chip, overlay = overlay_of("vhk158")
    took, published = seconds("vhk158", prompt, answer)[1], TIMINGS[prompt, answer][1] / 1e3
    assert took == pytest.approx(published, rel=0.04)
    at_16_bits = overlay.density * 2 * HEAD / memory_bytes_per_s(chip, overlay)
    at_4_bits = overlay.density * HEAD / (overlay.vector_macs * cycles_per_s(chip, overlay))
    assert took - answer * (at_16_bits - at_4_bits) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(("prompt", "milliseconds"), [(128, 289.9), (512, 1181.4)])
def test_prefill_on_the_vhk158(prompt: int, milliseconds: float) -> None:
    """Compute bound, 2.3 ms a token: within 5 %, and within 3.5 % with the head for every token.

    What is left is waiting for first loads, which the artifact's instruction streams show and kvsim does not model.
    """
    chip, overlay = overlay_of("vhk158")
    took = seconds("vhk158", prompt, 1)[0] * 1e3
    assert took == pytest.approx(milliseconds, rel=0.055)
    heads = 1e3 * (prompt - 1) * HEAD / (overlay.matrix_macs * cycles_per_s(chip, overlay))
    assert took < took + heads < milliseconds
    assert took + heads == pytest.approx(milliseconds, rel=0.035)


def test_the_multiplications_are_the_artifacts() -> None:
    """Its counters: matrix lanes 274.24 ms at 128 tokens, vector lanes 8.81 ms at 144, with four regions at 0.8.

    128 x (6.154 G weights that are left + head) + 128^2 x 4096 x 2 x 32 of attention; one token's, in tiles of 512.
    """
    chip, overlay = overlay_of("vhk158")
    layers, kept = 32, 4096 * 4096 * (2 + 2 * 0.7) + 3 * 4096 * 11008
    matrix = 128 * (layers * kept + HEAD) + 128**2 * 4096 * 2 * layers
    assert matrix / (overlay.matrix_macs * cycles_per_s(chip, overlay)) == pytest.approx(0.27424, rel=1e-3)
    padded = 4096 * 4096 * (2 + 2 * 0.7) + 4096 * (2 * 11264 + 11008)
    vector = layers * padded + 4096 * 32256 + layers * 32 * 512 * (128 + 144)
    assert vector / (overlay.vector_macs * cycles_per_s(chip, overlay)) == pytest.approx(0.00881, rel=1e-3)
    assert overlay.density == pytest.approx(kept / (4 * 4096**2 + 3 * 4096 * 11008), abs=2e-3)


@pytest.mark.parametrize("context", [128, 512])
def test_decode_on_the_u280(context: int) -> None:
    """About 55 token/s on the board (its README), whose cases decode a token at 128 and at 512: 53.5 and 50.7 here.

    Three regions load from 24 of 32 channels: 460 GB/s x 0.75 x 0.7 x 0.8 = 193 GB/s. 3.1 GB of weights at 4 bits take
    16 ms; the head at 16 bits takes 1 ms more than at 4, without which it would be 56.4 and 53.3.
    """
    chip, overlay = overlay_of("u280")
    assert memory_bytes_per_s(chip, overlay) == pytest.approx(193.2e9)
    took = sum(seconds("u280", context - 1, 1)[1:])
    assert 1 / took == pytest.approx(55, rel=0.09)
    head_s = overlay.density * HEAD * (2 - 0.5) / memory_bytes_per_s(chip, overlay)
    assert 1 / (took - head_s) == pytest.approx(55, rel=0.04)


def test_the_gpu_overtakes_at_a_few_hundred_prompt_tokens() -> None:
    """With 512 tokens of answer the artifact's FPGA wins at 128 prompt tokens (1.097x) and loses at 512 (0.918x).

    Its lines cross at 316 tokens. kvsim's A100 is 5 % faster in decode than its vLLM 0.1.7, and so is 3 % slower FPGA:
    they cross at 158; against its GPU column kvsim's FPGA crosses at 265.
    """

    def crossing(fpga: dict[int, float], gpu: dict[int, float]) -> float:
        gains = {prompt: gpu[prompt] - fpga[prompt] for prompt in (128, 512)}
        assert gains[128] > 0 > gains[512]
        return 128 + 384 * gains[128] / (gains[128] - gains[512])

    prompts = (128, 512)
    published = {prompt: sum(TIMINGS[prompt, 512]) / 1e3 for prompt in prompts}
    measured = {prompt: sum(GPU_TIMINGS[prompt, 512]) / 1e3 for prompt in prompts}
    ours = {prompt: sum(seconds("vhk158", prompt, 512)) for prompt in prompts}
    a100 = {prompt: sum(seconds("a100-80", prompt, 512)) for prompt in prompts}
    assert crossing(published, measured) == pytest.approx(316, abs=1)
    assert crossing(ours, measured) == pytest.approx(265, abs=25)
    assert crossing(ours, a100) == pytest.approx(158, abs=25)
    for prompt in prompts:
        assert a100[prompt] == pytest.approx(measured[prompt], rel=0.07)
