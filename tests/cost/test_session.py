"""The four costs of a long context, against the worked example of arXiv:2405.08944 and against steps and bytes."""

from typing import Any

import pytest

import kvsim
from kvsim.errors import UserError
from kvsim.onesession import Row

# What the paper assumes: an A100 of 80 GB, 312 TFLOP/s, 2 TB/s, 20 GB/s to host memory. Its GB of memory and cache are
# GiB (it gives a 50K cache as 11 GB, which is 50,000 x 245,760 bytes / 2^30). Peripheral figures play no part.
PAPER_A100 = """
name: an A100 in arXiv:2405.08944
chip:
  name: A100 80GB
  memory: {kind: HBM2e, capacity: 80 GiB, bandwidth: 2 TB/s}
  peak: {bf16: 312 TFLOP/s, fp32: 19.5 TFLOP/s}
  multiprocessors: 108
  l2: 40 MiB
  clock: 1.41 GHz
  power: 400 W
  idle_power: 60 W
host_link: {name: to host memory, kind: pcie, bandwidth: 20 GB/s, latency: 0 s}
peer_links: [nvlink3]
host: dgx-a100-640
price: 1.89 USD/h
"""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Row]:
    """Yi-34B on that machine, at 4K and 50K, an answer of 250 tokens."""
    path = tmp_path_factory.mktemp("paper") / "a100.yaml"
    path.write_text(PAPER_A100)
    rows = kvsim.session(hw=str(path), model="yi-34b", context=[4000, 50_000], generated=250).rows
    return {row.context: row for row in rows}


@pytest.mark.parametrize(("context", "seconds"), [(4000, 0.89), (50_000, 14.1)])
def test_prefill_of_the_paper(paper: dict[int, Row], context: int, seconds: float) -> None:
    """The paper's seconds count one FLOP for each multiply-add of attention; two, as for its GEMMs, give ours."""
    ops = kvsim.step(hw="a100-80", model="yi-34b", phase="prefill", context=context).ops
    flops = {kind: sum(op.count * float(op.flops["bf16"]) for op in ops if op.kind == kind) for kind in _KINDS}
    assert (flops["gemm"] + flops["attention_prefill"] / 2) / 312e12 == pytest.approx(seconds, rel=0.015)
    assert paper[context].peak.prefill_s == pytest.approx(sum(flops.values()) / 312e12, rel=1e-6)


_KINDS = ("gemm", "attention_prefill")


@pytest.mark.parametrize(("context", "seconds"), [(4000, 8.5), (50_000, 9.8)])
def test_decode_of_the_paper(paper: dict[int, Row], context: int, seconds: float) -> None:
    assert paper[context].peak.decode_s == pytest.approx(seconds, rel=0.025)


def test_concurrency_of_the_paper(paper: dict[int, Row]) -> None:
    """One user at 50K. The paper says about 20 at 4K; its own 80, 68 and 0.91 GB leave room for 13."""
    assert int(paper[50_000].peak.sessions) == 1
    assert 13 <= paper[4000].peak.sessions <= 20


def test_context_switch_of_the_paper(paper: dict[int, Row]) -> None:
    """1.1 s: out and in of 11 GiB over 20 GB/s, if a GiB counts as a GB."""
    assert paper[50_000].peak.switch_s / 1.024**3 == pytest.approx(1.1, rel=0.05)


def test_what_is_expected_never_beats_the_peak(paper: dict[int, Row]) -> None:
    for row in paper.values():
        assert row.expected.sessions < row.peak.sessions
        for cost in ("prefill_s", "decode_s", "switch_s"):
            assert getattr(row.expected, cost) > getattr(row.peak, cost)


def costs(policy: str, context: int = 50_000, **more: Any) -> Row:
    (row,) = kvsim.session(hw="h100", model="llama-3-8b", policy=policy, context=context, **more).rows
    return row


def test_expected_seconds_are_those_of_steps() -> None:
    row = costs("kivi", 3000, generated=3, batch=4)
    shared: dict[str, Any] = {"hw": "h100", "model": "llama-3-8b", "policy": "kivi"}
    assert row.expected.prefill_s == kvsim.step(phase="prefill", context=3000, **shared).seconds
    each = [kvsim.step(phase="decode", batch=4, context=3000 + n, generated=n, **shared).seconds for n in (1, 2, 3)]
    assert row.expected.decode_s == pytest.approx(sum(float(seconds) for seconds in each), rel=1e-12)


def test_each_policy_lowers_its_costs() -> None:
    full, kivi, headinfer = costs("full"), costs("kivi"), costs("headinfer")
    assert kivi.expected.sessions > 4 * full.expected.sessions
    assert kivi.expected.switch_s < full.expected.switch_s / 4
    assert (headinfer.expected.switch_s, headinfer.peak.switch_s) == (0, 0)
    assert headinfer.expected.decode_s > 5 * full.expected.decode_s
    assert headinfer.cache_bytes["dram"] == full.cache_bytes["hbm"]


def test_a_prompt_that_is_cut_at_its_end_still_has_to_fit() -> None:
    snapkv = kvsim.session(hw="a100-80", model="yi-34b", policy="snapkv", context=50_000).rows[0]
    assert snapkv.peak.sessions > 20 and snapkv.expected.sessions == 0


def test_chips_share_a_session() -> None:
    one, two = (kvsim.session(hw="h100x2", model="llama-3-8b", tp=tp, context=50_000).rows[0] for tp in (1, 2))
    assert 2 * two.cache_bytes["hbm"] == one.cache_bytes["hbm"]
    assert two.expected.sessions > 2 * one.expected.sessions


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"generated": 0}, "generated must be at least 1"),
        ({"policy": "kivy"}, "did you mean kivi"),
        ({"context": 0}, "context"),
    ],
)
def test_mistakes(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kvsim.session(**{"hw": "h100", "model": "llama-3-8b", **words})
