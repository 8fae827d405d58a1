"""NVMe flash: bandwidth by request size and queue depth, writes beside reads, layouts, tails and wear.

A drive serves `queue_depth` requests at once, each after its latency, until it runs out of operations or of bandwidth:

    IOPS(request, depth) = min(depth / (latency + request / bandwidth), random IOPS, bandwidth / request)

which is Little's law below two ceilings: what datasheets state for 4 KiB and for large requests.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.op import Num
from kvsim.specs.devices import SECTOR_BYTES, Drive

SECONDS_PER_YEAR = 365.25 * 86400.0
LARGE_BYTES = 128 * 1024.0  # what datasheets measure sequential bandwidth with


@dataclass(frozen=True)
class Layout:
    """How a tier lays a token's keys and values out: the contiguous bytes that one request can fetch.

    layer_first: a layer's (or one kv head's) tokens follow each other: requests as long as a fetch.
    token_first: one token's bytes of one layer follow each other: a request a token and layer.
    page_first: a page of tokens, all layers together, is one object: a request a page.
    """

    name: str

    def request_bytes(self, layer_token_bytes: float, layers: int, page_tokens: int, fetched_tokens: float) -> float:
        """Contiguous bytes of one request when a layer fetches `fetched_tokens` of its tokens."""
        if self.name == "layer_first":
            return max(layer_token_bytes, layer_token_bytes * fetched_tokens)
        if self.name == "token_first":
            return layer_token_bytes
        return layer_token_bytes * layers * page_tokens

    def read_share(self, layers: int) -> float:
        """Bytes read over bytes wanted when one layer is fetched alone: a whole page holds every layer."""
        return float(layers) if self.name == "page_first" else 1.0


LAYOUTS = {name: Layout(name) for name in ("layer_first", "token_first", "page_first")}


def _sectors(request_bytes: Num) -> Num:
    """Whole sectors of a request: a drive reads no less than one."""
    return np.ceil(np.asarray(request_bytes, np.float64) / SECTOR_BYTES)


def read_iops(drive: Drive, request_bytes: Num, queue_depth: Num) -> Num:
    """Requests/s that one drive serves; arrays broadcast."""
    moved_s = _sectors(request_bytes) * (SECTOR_BYTES / drive.read)
    turn_s = np.maximum((drive.read_latency + moved_s) / queue_depth, 1 / drive.random_read)
    return _per_s(np.maximum(turn_s, moved_s))


def write_iops(drive: Drive, request_bytes: Num, queue_depth: Num, amplification: Num = 1.0) -> Num:
    """The same for writes; small ones make the drive copy, `amplification` bytes of flash a byte of the host."""
    moved_s = _sectors(request_bytes) * (SECTOR_BYTES / drive.write)
    small_s = np.where(_sectors(request_bytes) * SECTOR_BYTES < LARGE_BYTES, 1 / drive.random_write, 0.0)
    turn_s = np.maximum((drive.write_latency + moved_s) / queue_depth, small_s)
    return _per_s(np.maximum(turn_s, moved_s) * amplification)


def _per_s(turn_s: Num) -> Num:
    with np.errstate(divide="ignore"):
        rates: NDArray[np.float64] = 1 / np.asarray(turn_s, np.float64)
    return rates


def read_bytes_per_s(drive: Drive, request_bytes: Num, queue_depth: Num) -> Num:
    """Useful bytes/s of one drive: what was asked for, not whole sectors."""
    return read_iops(drive, request_bytes, queue_depth) * request_bytes


def write_bytes_per_s(drive: Drive, request_bytes: Num, queue_depth: Num, amplification: Num = 1.0) -> Num:
    """The same for writes."""
    return write_iops(drive, request_bytes, queue_depth, amplification) * request_bytes


def beside(drive: Drive, write_share: Num, request_bytes: Num = LARGE_BYTES) -> tuple[Num, Num]:
    """(read, write) bytes/s when `write_share` of the drive's time writes: reads have what is left of it."""
    deep = drive.queue_depth
    return (1 - write_share) * read_bytes_per_s(drive, request_bytes, deep), write_share * write_bytes_per_s(
        drive, request_bytes, deep
    )


def wait_s(service_s: Num, load: Num) -> Num:
    """Mean wait in queue of an M/D/1 server (Pollaczek-Khinchine): load x service / (2 (1 - load)); inf at load 1."""
    load = np.asarray(load, np.float64)
    with np.errstate(divide="ignore"):
        waits: NDArray[np.float64] = np.where(load < 1, load * service_s / (2 * np.maximum(1 - load, 0)), np.inf)
    return waits


def tail_wait_s(service_s: Num, load: Num, quantile: float = 0.99) -> Num:
    """A bound on the wait that `quantile` of requests stay below: an exponential tail of the M/D/1's decay rate.

    The tail of an M/D/1's wait decays as exp(-theta t) with load (exp(theta s) - 1) = theta s (Cramer-Lundberg), and
    Lundberg's inequality says P(W > t) <= exp(-theta t).
    """
    load = np.asarray(load, np.float64)
    decay = _decay(np.clip(load, 1e-9, 1 - 1e-9))
    bound = -np.log(1 - quantile) / decay * service_s
    waits: NDArray[np.float64] = np.where(load >= 1, np.inf, np.where(load <= 0, 0.0, bound))
    return waits


def _decay(load: Num) -> Num:
    """The positive root x of load (exp(x) - 1) = x, by bisection on arrays."""
    low, high = np.full(np.shape(load), 1e-12), np.full(np.shape(load), 50.0)
    for _ in range(80):
        middle = (low + high) / 2
        above = load * np.expm1(middle) > middle
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    middle_of: NDArray[np.float64] = (low + high) / 2
    return middle_of


def amplification(request_bytes: Num, erase_bytes: float, spare_share: float) -> Num:
    """Flash bytes written a host byte: 1 when requests fill erase units, else random overwrites' greedy limit.

    Uniform random overwrites with `spare_share` of spare flash cost about (1 + s) / (2 s) (Hu et al., SYSTOR 2009).
    """
    worst = max(1.0, (1 + spare_share) / (2 * spare_share))
    return np.where(np.asarray(request_bytes) >= erase_bytes, 1.0, worst)


def years_to_wear_out(drive: Drive, host_bytes_per_s: Num, amplification: Num = 1.0, drives: int = 1) -> Num:
    """Years until `drives` striped drives have taken the bytes that their maker warrants; inf without writes.

    The warranty counts host bytes under a random load, which the maker's own amplification is part of: a sequential
    load may last longer than this says.
    """
    rate = np.asarray(host_bytes_per_s, np.float64) * amplification
    with np.errstate(divide="ignore"):
        return np.where(rate > 0, drive.endurance * drives / (np.maximum(rate, 0) * SECONDS_PER_YEAR), np.inf)


def drive_writes_per_day(drive: Drive, host_bytes_per_s: Num, drives: int = 1) -> Num:
    """Times a day that the load fills the drives."""
    return host_bytes_per_s * 86400.0 / (drive.capacity * drives)
