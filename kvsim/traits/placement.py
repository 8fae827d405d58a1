"""Placement: in which tier the cache rests, what crosses which lanes, where attention runs, and how lanes overlap."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.cost.kernels import copy
from kvsim.cost.op import D2H, H2D, Num, Op

Ints = NDArray[np.int64]
HBM, DRAM = "hbm", "dram"
# tier -> lanes that a fetch takes to the chip, and those of what goes back; each is a stage of one stream
FETCH = {DRAM: (H2D,), "flash": ("nvme_read", H2D), "cxl": ("cxl", H2D), "remote": ("nic", H2D)}
RETURN = {DRAM: (D2H,), "flash": (D2H, "nvme_write"), "cxl": (D2H, "cxl"), "remote": (D2H, "nic")}
_NAMES = {H2D: "fetch_cache", D2H: "return_cache", "nvme_read": "read_flash", "nvme_write": "write_flash"}


@dataclass(frozen=True)
class Resting:
    """What a sequence holds over all layers of this chip [S].

    Attributes:
        total: bytes, with all metadata. index: of those, the selection's index. tokens: head-tokens.
    """

    total: Ints
    index: Ints
    tokens: Ints

    @property
    def rows(self) -> Ints:
        """Bytes of rows and of all metadata but the index."""
        return self.total - self.index


@dataclass(frozen=True)
class Placement:
    """The cache rests in HBM and nothing moves: the null placement."""

    home = HBM
    grain_bytes = 0  # contiguous bytes of one request to the home tier; 0 for a stream
    fetches_past = True  # a prefill chunk fetches what came before it

    def own_bytes(self, tokens: Ints, geo: Geometry) -> Ints:
        """Bytes at home that it adds to those of rows and index, for head-tokens of all layers: hash tables."""
        return 0 * tokens

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """Bytes by tier of what a sequence holds."""
        return {HBM: held.total}

    def away(self) -> dict[str, float]:
        """Shares of what rests outside HBM, by tier: all of it at home."""
        return {self.home: 1.0}

    def weights_in(self, geo: Geometry) -> dict[str, float]:
        """Shares of the weights by tier, with room that is set aside for them."""
        return {HBM: 1.0}

    def units(self, geo: Geometry) -> int:
        """Transfers of a step in one direction: the grain in which the cache moves; 0 when it does not."""
        return 0

    def moved(self, whole: int, geo: Geometry) -> int:
        """Of `whole` bytes of all layers, those that rest outside HBM."""
        return whole

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """Bytes that a decode step fetches of a sequence that stores `stored` bytes."""
        return stored

    def attention_launches(self, geo: Geometry) -> float:
        """Attention kernels a layer."""
        return 1.0

    def returns_everything(self) -> bool:
        """Whether a decode step writes the whole cache back, not only the new token."""
        return False

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """Transfers of a step on each lane that they take: bytes over all layers, both directions."""
        return []

    def on_chip(self, kind: LayerKind, geo: Geometry) -> tuple[float, float]:
        """(share of the cached tokens, tokens a sequence besides) that the chip itself attends to at a decode step."""
        return 1.0, 0.0

    def beside_ops(self, geo: Geometry, kind: LayerKind, sequences: Num, tokens: Num, kv_bytes: Num) -> list[Op]:
        """Ops of a decode step's attention on lanes beside the chip, which waits for them: one after the other."""
        return []


@dataclass(frozen=True)
class HostResident(Placement):
    """The cache rests in host DRAM, or a tier behind it, and visits HBM in units (a layer, or a kv head of a layer).

    Double-buffered. Each decode step reads all of it but `resident` layers, which stay in HBM; a prefill chunk reads
    its past and writes its new rows.
    """

    by_head: bool
    buffers: int = 2
    writes_back: bool = False
    tier: str = DRAM
    resident: int = 0
    grain_bytes: int = 0
    heads: int = 1  # kv heads of a unit, by head

    @property
    def home(self) -> str:  # type: ignore[override]
        """The tier where it rests."""
        return self.tier

    def rest(self, held: Resting, geo: Geometry) -> dict[str, Ints]:
        """`buffers` units of it and the resident layers in HBM, the others in their tier."""
        layers = geo.model.layers
        kept, allocated = min(self.resident, layers), held.total
        away = allocated * (layers - kept) // layers
        buffered = -(-allocated * self.buffers // self._all_units(geo)) if kept < layers else 0 * allocated
        return {HBM: buffered + allocated - away, self.tier: away}

    def _all_units(self, geo: Geometry) -> int:
        return geo.model.layers * self._units_a_layer(geo)

    def _units_a_layer(self, geo: Geometry) -> int:
        return -(-geo.kv_heads // self.heads) if self.by_head else 1

    def units(self, geo: Geometry) -> int:
        """Layers, or layers x kv heads, without the resident ones (at least one, which then moves nothing)."""
        away = max(1, geo.model.layers - self.resident)
        return away * self._units_a_layer(geo)

    def moved(self, whole: int, geo: Geometry) -> int:
        """All but the resident layers."""
        layers = geo.model.layers
        return whole * (layers - min(self.resident, layers)) // layers

    def fetched(self, stored: Ints, geo: Geometry) -> Ints:
        """The same."""
        layers = geo.model.layers
        return stored * (layers - min(self.resident, layers)) // layers

    def attention_launches(self, geo: Geometry) -> float:
        """One kernel a unit."""
        return float(self._units_a_layer(geo))

    def returns_everything(self) -> bool:
        """The released HeadInfer and Hugging Face's offloading copy whole blocks back."""
        return self.writes_back

    def move_ops(self, geo: Geometry, fetched: Num, returned: Num) -> list[Op]:
        """One stream each way; every lane on the way carries all of its bytes."""
        return stream_ops(self.tier, self.units(geo), self.grain_bytes, fetched, returned)


def stream_ops(
    tier: str, units: int, grain_bytes: int, fetched: Num, returned: Num, every_step: bool = True
) -> list[Op]:
    """Copies of `fetched` bytes from a tier to the chip and `returned` bytes back, in `units` transfers each.

    `every_step`: decode steps fetch, too. Where only chunks do, whose fetches are long, their latencies are left out.
    """
    shape = {"request_bytes": grain_bytes} if grain_bytes else {}
    both = (FETCH[tier], fetched, f"read_{tier}", float(every_step)), (RETURN[tier], returned, f"write_{tier}", 1.0)
    return [
        copy(_NAMES.get(lane, name), lane, moved / units, transfers, units, shape)
        for lanes, moved, name, transfers in both
        for lane in lanes
    ]


# How much longer kernels take while a copy over the host link runs: the median of 12 measurements on an H100 (GEMM and
# decode attention, both directions, 1 to 64 MiB: 1.2 to 8.6 %), by `kvsim calibrate`, copies.csv: kernel_slowdown.
SLOWED_BY_COPIES = 0.035


def slowed(lanes: list[Num]) -> list[Num]:
    """Lanes, the chip's first: its kernels are slowed while the longest of the copies runs, copies by nothing."""
    work, *copies = lanes
    longest = copies[0]
    for lane in copies[1:]:
        longest = _larger(longest, lane)
    plain = isinstance(work, float) and isinstance(longest, float)
    return [work + SLOWED_BY_COPIES * (min(work, longest) if plain else np.minimum(work, longest)), *copies]


def overlapped(lanes: list[Num], units: Num) -> Num:
    """Seconds of a step whose lanes work unit by unit, double-buffered: the slowest sets the pace, plus the fill.

    Of n units, the first must arrive before it is computed and the last leaves after: slowest + (others) / n.
    """
    slowest: Num = lanes[0]
    total: Num = lanes[0]
    for lane in lanes[1:]:
        slowest, total = _larger(slowest, lane), total + lane
    return slowest + (total - slowest) / units


def _larger(one: Num, other: Num) -> Num:
    return max(one, other) if isinstance(one, float) and isinstance(other, float) else np.maximum(one, other)
