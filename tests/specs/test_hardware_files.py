"""Every hardware file loads, and every figure in it says where it comes from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvsim import find
from kvsim.specs.devices import Drive, Expander, Store
from kvsim.specs.hardware import Chip, Host, Link, System
from kvsim.specs.load import load, read_yaml

KINDS: dict[str, type[Chip | Host | Link | System | Drive | Expander | Store]] = {
    "chips": Chip, "hosts": Host, "links": Link, "systems": System, "drives": Drive, "memories": Expander,
    "stores": Store,
}  # fmt: skip
FILES = sorted(path for kind in KINDS for path in (find.ROOT / "hardware" / kind).glob("*.yaml"))
IDS = [f"{path.parent.name}/{path.stem}" for path in FILES]
SYSTEMS = find.names("hardware/systems")


def figures(data: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted paths of the values that carry a number."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) or (isinstance(value, str) and value[:1].isdigit()):
            yield prefix + key


GPUS = [name for name in SYSTEMS if find.machine(name).chip.fpga is None]


def test_the_systems_are_there() -> None:
    assert GPUS == ["a100-40", "a100-80", "a6000", "h100", "h200", "l40s", "rtx4090"]
    assert set(SYSTEMS) - set(GPUS) == {"u280", "vhk158"}


@pytest.mark.parametrize("name", ["u280", "vhk158"])
def test_an_overlays_peaks_follow_from_its_lanes(name: str) -> None:
    chip = find.machine(name).chip
    assert chip.fpga is not None
    cycles = 2 * chip.fpga.regions * chip.clock
    assert chip.peak.bf16 == pytest.approx(cycles * chip.fpga.matrix_macs, rel=0.01)
    assert chip.peak.fp32 == pytest.approx(cycles * chip.fpga.vector_macs, rel=0.01)
    assert chip.multiprocessors == chip.fpga.regions


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_it_loads(path: Path) -> None:
    assert load(KINDS[path.parent.name], path).name


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_figure_has_a_source(path: Path) -> None:
    data = read_yaml(path)
    sources = data.pop("sources")
    found = list(figures(data))
    assert found, "a hardware file without a figure"
    for figure in found:
        keys = figure.split(".")
        assert any(".".join(keys[:depth]) in sources for depth in range(1, len(keys) + 1)), f"{figure} has no source"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_source_names_a_key_of_the_file(path: Path) -> None:
    data = read_yaml(path)
    for source in data.pop("sources"):
        place: Any = data
        for key in source.split("."):
            place = place[key]


@pytest.mark.parametrize(
    ("name", "mebibytes", "terabytes_per_s", "bf16_tflops", "watts"),
    [
        ("h100", 81559, 3.35, 989.4, 700),
        ("h200", 143771, 4.8, 989.4, 700),
        ("a100-80", 81920, 2.039, 312, 400),
        ("a100-40", 40960, 1.555, 312, 400),
        ("rtx4090", 24564, 1.008, 165.2, 450),
        ("a6000", 49140, 0.768, 154.8, 300),
        ("l40s", 46068, 0.864, 362.05, 350),
    ],
)
def test_datasheet(name: str, mebibytes: int, terabytes_per_s: float, bf16_tflops: float, watts: float) -> None:
    chip = find.machine(name).chip
    assert chip.memory.capacity == mebibytes * 2**20
    assert chip.memory.bandwidth == pytest.approx(terabytes_per_s * 1e12)
    assert chip.peak.bf16 == pytest.approx(bf16_tflops * 1e12)
    assert chip.power == watts


@pytest.mark.parametrize("name", GPUS)
def test_tensor_peaks_are_dense_and_follow_from_the_clock(name: str) -> None:
    """SMs x FLOP a cycle x clock; Hopper's tensor cores boost to 1.83 GHz where its plain cores reach 1.98."""
    chip = find.machine(name).chip
    per_cycle = {"a100-80": 2048, "a100-40": 2048, "h100": 4096, "h200": 4096, "a6000": 1024, "l40s": 1024}
    assert chip.peak.bf16 == pytest.approx(chip.multiprocessors * per_cycle.get(name, 512) * chip.clock, rel=0.09)
    lanes = 64 if name.startswith("a100") else 128
    assert chip.peak.fp32 == pytest.approx(chip.multiprocessors * 2 * lanes * chip.clock, rel=0.01)


@pytest.mark.parametrize(("name", "native"), [(n, n in ("h100", "h200", "l40s", "rtx4090")) for n in GPUS])
def test_fp8_runs_at_twice_bf16_where_it_is_native(name: str, native: bool) -> None:
    peak = find.machine(name).chip.peak
    assert (peak.fp8 is not None) == native
    assert peak.of("fp8") == pytest.approx(peak.bf16 * (2 if native else 1), rel=0.02)


@pytest.mark.parametrize("name", ["rtx4090", "a6000"])
def test_a_workstation_holds_four_million_tokens_of_llama_3_8b(name: str) -> None:
    """HeadInfer (arXiv:2502.12574) keeps 4M tokens, 512 GiB, in host memory."""
    cache = 4 * 2**20 * find.model("llama-3-8b").kv_bytes_per_token
    assert cache == 512 * 2**30
    assert find.machine(name).host.memory.capacity >= cache


@pytest.mark.parametrize(
    ("name", "two", "eight"),
    [
        ("h100", "nvlink", "nvlink"),
        ("h200", "nvlink", "nvlink"),
        ("a100-80", "nvlink", "nvlink"),
        ("a100-40", "nvlink", "nvlink"),
        ("a6000", "nvlink", "pcie"),  # a bridge joins two cards
        ("rtx4090", "pcie", "pcie"),
        ("l40s", "pcie", "pcie"),
    ],
)
def test_chips_talk_over_the_link_they_really_have(name: str, two: str, eight: str) -> None:
    machine = find.machine(f"{name}x8")
    assert (machine.peer_link(2).kind, machine.peer_link(8).kind) == (two, eight)
    assert machine.peer_link(8).max_chips >= 8
    assert machine.host_link.kind == "pcie"


def test_chips_differ_only_where_the_datasheets_do() -> None:
    """An H200 is an H100 with another memory; both A100s share all but memory and idle power."""
    h100, h200 = find.machine("h100").chip, find.machine("h200").chip
    assert (h100.peak, h100.multiprocessors, h100.clock) == (h200.peak, h200.multiprocessors, h200.clock)
    big, small = find.machine("a100-80").chip, find.machine("a100-40").chip
    same = {"memory", "name", "idle_power", "sources"}
    assert big.model_dump(exclude=same) == small.model_dump(exclude=same)
