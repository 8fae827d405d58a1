"""Machines as graphs: tiers, their ways to a chip, what transfers share, and what is refused."""

from pathlib import Path

import pytest

from kvsim import find
from kvsim.cost.lanes import lanes
from kvsim.errors import UserError

BOX = """\
name: my box
chip: rtx-4090
host_link: pcie4-x16
peer_links: [pcie4-x16-peer]
host: workstation
price: 1 USD/h
chip_to: near
switches:
  near: {link: pcie4-x16, to: far}
  far: {link: pcie4-x16, to: host}
devices:
  ssd: {drive: DRIVE, count: 2, to: near}
"""
DRIVE = """\
name: my drive
link: pcie4-x4
capacity: 4 TB
read: 7 GB/s
write: 5 GB/s
random_read: 1 MIOPS
random_write: 200 kIOPS
read_latency: 80 us
write_latency: 20 us
queue_depth: 256
endurance: 7300 TB
power: 10 W
price: 400 USD
"""


@pytest.fixture(autouse=True)
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a machine of one's own; names are cached, so each test starts afresh."""
    monkeypatch.chdir(tmp_path)
    find.machine.cache_clear()
    (tmp_path / "box.yaml").write_text(BOX.replace("DRIVE", "./drive.yaml"))
    (tmp_path / "drive.yaml").write_text(DRIVE)
    return tmp_path


def refusal(name: str) -> str:
    with pytest.raises(UserError) as error:
        find.machine(name)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_machine_has_hbm_and_dram() -> None:
    tiers = find.machine("h100").tiers
    assert [tier.name for tier in tiers] == ["hbm", "dram"]
    assert tiers[0].read == ()
    assert [hop.resource for hop in tiers[1].read] == ["dram", "host link down"]
    assert tiers[1].read_bytes_per_s == 63e9


def test_devices_compose_at_the_command_line() -> None:
    machine = find.machine("h100x8+4nvme+cxl+rdma")
    assert machine.chips == 8
    assert [tier.name for tier in machine.tiers] == ["hbm", "dram", "flash", "cxl", "remote"]
    flash = machine.tier("flash")
    assert flash.capacity_bytes == pytest.approx(4 * 7.68e12)
    assert flash.read_bytes_per_s == 4 * 6.5e9
    assert flash.write_bytes_per_s == 4 * 3.5e9
    assert flash.lanes == ("nvme_read", "nvme_write")


def test_a_drive_by_its_own_name() -> None:
    assert find.machine("rtx4090+2samsung-990-pro").tier("flash").read_bytes_per_s == 2 * 7.45e9


def test_a_way_bounces_in_host_dram_unless_the_drive_copies_to_its_peer(box: Path) -> None:
    through = [hop.resource for hop in find.machine("./box.yaml").tier("flash").read]
    assert through == [
        "ssd", "ssd link up", "near up", "far up", "dram", "far down", "near down", "host link down"
    ]  # fmt: skip
    (box / "drive.yaml").write_text(DRIVE + "peer: true\n")
    find.machine.cache_clear()
    tier = find.machine("./box.yaml").tier("flash")
    assert [hop.resource for hop in tier.read] == ["ssd", "ssd link up", "host link down"]
    assert [hop.resource for hop in tier.write] == ["host link up", "ssd link down", "ssd"]
    assert tier.read_bytes_per_s == 14e9
    assert tier.read_latency_s == pytest.approx(80e-6 + 1e-6 + 10e-6)


def test_what_transfers_share_is_named_once() -> None:
    machine = find.machine("h100+2nvme+rdma")
    names = [resource.name for resource in machine.resources]
    assert len(names) == len(set(names))
    used = {hop.resource for tier in machine.tiers for hop in (*tier.read, *tier.write)}
    assert used == set(names)
    assert [resource.name for resource in machine.resources if resource.of_chip] == ["host link down", "host link up"]
    assert {r.kind for r in machine.resources if r.name in ("nvme", "rdma", "dram")} == {"drive", "network", "memory"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("to: host}", "to: near}", "machine ./box.yaml: switches form a cycle (near -> far -> near)"),
        ("to: far}", "to: near}", "switches form a cycle (near -> near)"),
        ("to: far}", "to: fa}", "near is attached to 'fa', which no link leads to; there are: host, near, far"),
        ("2, to: near}", "2, to: ssd}", "ssd is attached to 'ssd', which no link leads to; there are: host, near, far"),
        ("chip_to: near", "chip_to: up", "chips is attached to 'up'"),
        ("link: pcie4-x16, to: far", "to: far", "key 'switches.near.link' is missing"),
        ("link: pcie4-x16, to: far", "link: pcie9, to: far", "unknown link 'pcie9'"),
        ("drive: ./drive.yaml", "drive: ./drive.yaml, memory: cxl-ddr5-256", "a device is one of drive, memory and"),
        ("drive: ./drive.yaml, ", "", "a device is one of drive, memory and store, but got none"),
        ("count: 2", "count: 0", "devices.ssd.count: input should be greater than 0"),
        ("count: 2", "tier: dram", "ssd makes the tier dram, which exists already; name another with `tier:`"),
    ],
)
def test_a_bad_graph_is_refused(box: Path, old: str, new: str, says: str) -> None:
    text = (box / "box.yaml").read_text()
    assert text.count(old) == 1
    (box / "box.yaml").write_text(text.replace(old, new))
    assert says in refusal("./box.yaml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: my drive", "name: my drive\nkind: tape", "kind: input should be 'nvme', but got 'tape'"),
        ("capacity: 4 TB\n", "", "drive.yaml: key 'capacity' is missing"),
        ("capacity: 4 TB", "capacity: 0 TB", "capacity: input should be greater than 0"),
        ("link: pcie4-x4\n", "", "drive.yaml: key 'link' is missing"),
        ("1 MIOPS", "10 kIOPS", "random_read: 10,000 IOPS is slower than the drive's own latency"),
        ("read: 7 GB/s", "read: 40 MB/s", "read: 40 MB/s is slower than the drive's own latency"),
        ("queue_depth: 256", "queue_depth: 32", "random_read: 1,000,000 IOPS cannot come from 32 requests of 80 us"),
        ("read_latency: 80 us", "read_latency: 0 us", "read_latency: input should be greater than 0"),
    ],
)
def test_a_bad_drive_is_refused(box: Path, old: str, new: str, says: str) -> None:
    text = "\n" + DRIVE
    assert text.count(("\n" + old) if old.startswith("read: ") else old) == 1
    (box / "drive.yaml").write_text(
        text.replace(("\n" + old), "\n" + new) if old.startswith("read") else text.replace(old, new)
    )
    assert says in refusal("./box.yaml")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("h100+nvm", "hw: +: unknown device 'nvm': did you mean"),
        ("h100+0nvme", "unknown device '0nvme'"),
        ("h100+", "unknown device ''"),
        ("h100+nvme+nvme", "nvme is attached twice; write a count before it, such as 2nvme"),
        ("h100+nvme+nvme5", "nvme5 makes the tier flash, which exists already"),
    ],
)
def test_bad_devices_are_refused(name: str, says: str) -> None:
    assert says in refusal(name)


def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(UserError, match="machine h100: unknown tier 'flash'; there are: dram, hbm"):
        find.machine("h100").tier("flash")


def test_a_file_with_more_devices_and_a_plus_in_its_name(box: Path) -> None:
    (box / "a+b.yaml").write_text((box / "box.yaml").read_text())
    machine = find.machine("./a+b.yaml+cxl")
    assert [tier.name for tier in machine.tiers] == ["hbm", "dram", "flash", "cxl"]


def test_devices_are_written_off_over_three_years() -> None:
    """A drive of 700 USD over 26,298 hours, shared by the chips beside it."""
    rent = find.machine("h100").price_usd_per_h
    assert find.machine("h100+2nvme").price_usd_per_h == pytest.approx(rent + 2 * 700 / 26_298)
    assert find.machine("h100x8+2nvme").price_usd_per_h == pytest.approx(rent + 2 * 700 / 26_298 / 8)
    assert find.machine("h100+rdma").price_usd_per_h == rent


def test_files_of_devices_are_named_in_provenance() -> None:
    names = find.data_files("h100+2nvme", "llama-3-8b")
    assert "hardware/drives/samsung-pm9a3.yaml" in names


@pytest.mark.parametrize("name", find.device_names())
def test_every_device_makes_a_tier(name: str) -> None:
    tier = find.machine(f"h100+{name}").tiers[-1]
    assert tier.capacity_bytes > 0
    assert 0 < tier.read_bytes_per_s <= 63e9
    assert tier.read_latency_s > 0


def test_a_tier_of_ones_own_name_has_lanes_of_its_own(box: Path) -> None:
    text = (box / "box.yaml").read_text() + "  old: {drive: samsung-pm9a3, tier: cold}\n"
    (box / "box.yaml").write_text(text)
    machine = find.machine("./box.yaml")
    assert machine.tier("flash").lanes == ("nvme_read", "nvme_write")
    assert machine.tier("cold").lanes == ("cold_read", "cold_write")
    found = lanes(machine, 1)
    assert found["nvme_read"].bytes_per_s == 2 * 7e9
    assert found["cold_read"].bytes_per_s == 6.5e9
