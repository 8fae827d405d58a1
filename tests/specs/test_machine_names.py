"""What `--hw` and `--model` accept: a system, N chips of it, or a user's own file."""

from pathlib import Path

import pytest

from kvsim import find
from kvsim.errors import UserError

INLINE = """\
name: my box
chip:
  name: my chip
  memory: {kind: HBM9, capacity: 1 TB, bandwidth: 10 TB/s}
  peak: {bf16: 1 PFLOP/s, fp32: 100 TFLOP/s}
  multiprocessors: 200
  l2: 64 MiB
  clock: 2 GHz
  power: 900 W
  idle_power: 90 W
host_link: {name: my link, kind: pcie, bandwidth: 126 GB/s, latency: 5 us}
peer_links: [nvlink4, {name: my other link, kind: pcie, bandwidth: 126 GB/s, latency: 5 us}]
host: dgx-h100
price: 5 USD/h
chips: 2
"""


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Names are cached, so each test starts afresh, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    find.machine.cache_clear()
    find.model.cache_clear()
    return tmp_path


def refusal(name: str) -> str:
    with pytest.raises(UserError) as error:
        find.machine(name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", find.names("hardware/systems"))
@pytest.mark.parametrize("times", [1, 2, 4, 8])
def test_a_system_and_its_multiples(name: str, times: int) -> None:
    machine = find.machine(name if times == 1 else f"{name}x{times}")
    assert machine.chips == times
    assert machine.chip == find.machine(name).chip
    assert machine.price_usd_per_h == find.machine(name).price_usd_per_h  # of one chip


@pytest.mark.parametrize("name", ["h100x3", "h100x16", "a100-80x5"])
def test_other_multiples_are_refused(name: str) -> None:
    assert "1, 2, 4 or 8 chips" in refusal(name)


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    assert "did you mean" in refusal("h10")
    assert "h100" in refusal("h10")
    assert "there are: a100-40, a100-80, a6000" in refusal("zzzzzz")


@pytest.mark.parametrize("name", ["", "x8", "h100x", "h100x0", "h100x08", "h100X2", "h100x2x2"])
def test_odd_names_are_unknown(name: str) -> None:
    assert "unknown hw" in refusal(name) or "1, 2, 4 or 8" in refusal(name)


def test_a_users_file_with_inline_parts(in_a_folder: Path) -> None:
    (in_a_folder / "mine.yaml").write_text(INLINE)
    machine = find.machine("./mine.yaml")
    assert machine.chips == 2
    assert machine.chip.memory.capacity == 1e12
    assert machine.host_link.bandwidth == 126e9
    assert [link.kind for link in machine.peer_links] == ["nvlink", "pcie"]
    assert machine.host == find.machine("h100").host


def test_a_users_file_that_names_another(in_a_folder: Path) -> None:
    chip = find.ROOT / "hardware/chips/h100-sxm.yaml"
    (in_a_folder / "fast.yaml").write_text(chip.read_text().replace("3.35 TB/s", "6.7 TB/s"))
    mine = (find.ROOT / "hardware/systems/h100.yaml").read_text().replace("chip: h100-sxm", "chip: ./fast.yaml")
    (in_a_folder / "mine.yml").write_text(mine)
    assert find.machine("mine.yml").chip.memory.bandwidth == 6.7e12


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  power", "  powr", "mine.yaml: chip: unknown key 'powr': did you mean power"),
        ("kind: HBM9", "kid: HBM9", "mine.yaml: chip: memory: unknown key 'kid': did you mean kind?"),
        ("1 TB,", "1 TB/s,", "mine.yaml: chip.memory.capacity: must have a unit of bytes"),
        ("  l2: 64 MiB\n", "", "mine.yaml: key 'chip.l2' is missing"),
        (
            "my other link, kind: pcie",
            "my other link, kind: wire",
            "mine.yaml: peer_links.1.kind: must be pcie, nvlink, cxl, rdma or tcp",
        ),
        ("host: dgx-h100", "host: 3", "mine.yaml: host: input should be a valid string"),
        ("host: dgx-h100", "host: dgx-h10", "unknown host 'dgx-h10': did you mean dgx-h100"),
        ("peer_links: [nvlink4,", "peer_links: [./none.yaml,", "none.yaml: No such file or directory"),
    ],
)
def test_a_fault_inside_an_inline_part_says_where(in_a_folder: Path, old: str, new: str, says: str) -> None:
    assert INLINE.count(old) == 1
    (in_a_folder / "mine.yaml").write_text(INLINE.replace(old, new))
    assert says in refusal("./mine.yaml")


@pytest.mark.parametrize("name", ["./nowhere.yaml", "nowhere.yml", "some/where"])
def test_a_users_file_that_does_not_exist(name: str) -> None:
    says = f"{Path(name)}: No such file or directory"
    assert refusal(name) == says
    with pytest.raises(UserError, match="No such file or directory"):
        find.model(name)


def test_models_by_name_and_by_file(in_a_folder: Path) -> None:
    shipped = find.ROOT / "workloads/models/llama-3-8b.yaml"
    (in_a_folder / "mine.yaml").write_text(shipped.read_text())
    assert find.model("mine.yaml") == find.model("llama-3-8b")
    with pytest.raises(UserError, match="unknown model 'lama-3-8b': did you mean llama-3-8b"):
        find.model("lama-3-8b")
