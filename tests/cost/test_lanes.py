"""Lanes beside the chip: what chips share, what a machine lacks, and attention that goes to the cache."""

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.cost.lanes import COPY_SHARE, lanes
from kvsim.errors import UserError


def test_chips_share_what_is_the_machines() -> None:
    alone, four = lanes(find.machine("h100x4+4nvme+rdma"), 1), lanes(find.machine("h100x4+4nvme+rdma"), 4)
    for name in ("nvme_read", "nvme_write", "nic"):
        assert four[name].bytes_per_s == pytest.approx(alone[name].bytes_per_s / 4)
    assert four["h2d"] == alone["h2d"]


def test_host_memory_limits_many_links() -> None:
    """Eight cards of 26.8 GB/s on 204.8 GB/s of DRAM: 25.6 each."""
    workstation = find.machine("rtx4090x8")
    assert lanes(workstation, 1)["h2d"].bytes_per_s == COPY_SHARE * 31.5e9
    assert lanes(workstation, 8)["h2d"].bytes_per_s == 204.8e9 / 8


def test_small_requests_are_slower_than_streams() -> None:
    read = lanes(find.machine("h100+2samsung-990-pro"), 1)["nvme_read"]
    assert read.rate({}) == 2 * 7.45e9
    assert read.rate({"request_bytes": 4096}) == pytest.approx(2 * 1.4e6 * 4096)
    one = read.rate({"request_bytes": 4096, "queue_depth": 2})
    assert one == pytest.approx(2 * 4096 / (45e-6 + 4096 / 7.45e9))


@pytest.mark.parametrize(
    ("policy", "needs"),
    [
        ("instinfer", "add +nvme"),
        ("offload:tier=cxl", "has no cxl lane; that takes a CXL memory: add +cxl to --hw"),
        ("headinfer:tier=remote", "has no nic lane; that takes a remote store: add +rdma or +tcp to --hw"),
    ],
)
def test_a_lane_that_is_not_there(policy: str, needs: str) -> None:
    with pytest.raises(UserError, match=needs.replace("+", r"\+")):
        kvsim.step(hw="h100", model="llama-3-8b", policy=policy)


def test_a_plain_drive_has_no_engine() -> None:
    with pytest.raises(UserError, match=r"has no csd lane; that takes a computational drive: add \+csd to --hw"):
        kvsim.step(hw="h100+nvme", model="llama-3-8b", policy="instinfer")


@pytest.mark.parametrize("policy", ["instinfer", "magicpig", "offload:tier=flash", "headinfer:tier=flash:resident=8"])
def test_arrays_of_steps_are_steps(policy: str) -> None:
    shape = {"hw": "h100+csd", "model": "llama-3-8b", "policy": policy}
    contexts = np.array([100, 3000, 90_000])
    many = kvsim.step(**shape, batch=np.full(3, 4), context=contexts).seconds  # type: ignore[arg-type]
    ones = [float(kvsim.step(**shape, batch=4, context=int(n)).seconds) for n in contexts]  # type: ignore[arg-type]
    assert np.asarray(many) == pytest.approx(ones, rel=1e-12)


def test_the_chip_waits_for_attention_elsewhere() -> None:
    """A step is the chip's lanes, streams hidden behind them, plus the round trip of every layer."""
    found = kvsim.step(hw="h100+2csd", model="llama-3-8b", policy="instinfer", batch=8, context=20_000)
    trip = sum(
        float(seconds)
        for op, seconds in zip(found.ops, found.op_seconds, strict=True)
        if op.name in ("send_queries", "attention_in_storage", "take_outputs")
    )
    assert float(found.seconds) == pytest.approx(trip + float(found.lanes["gpu"]), rel=0.02)
    assert found.bound.startswith("flash channels")


def test_resident_layers_leave_less_to_fetch() -> None:
    shape = {"hw": "rtx4090", "model": "llama-3-8b", "context": 50_000}
    whole, half, none = (
        kvsim.step(**shape, policy=f"offload:resident={many}")
        for many in (0, 16, 32)  # type: ignore[arg-type]
    )
    assert float(half.lanes["h2d"]) == pytest.approx(float(whole.lanes["h2d"]) / 2, rel=1e-3)
    assert none.kv_bytes["dram"] == 0
    in_hbm = kvsim.step(**shape, policy="full")  # type: ignore[arg-type]
    assert float(none.seconds) == pytest.approx(float(in_hbm.seconds), rel=1e-3)
