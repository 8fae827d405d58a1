"""What the tiers below HBM did in a run: hits, transfers, writes and wear, and where computing was faster."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from kvsim.cost.devices.flash import drive_writes_per_day, years_to_wear_out
from kvsim.engine.replica import Replica
from kvsim.engine.simulate import Simulation
from kvsim.specs.devices import Drive

if TYPE_CHECKING:
    from kvsim.engine.tiers import Tiers


def tier_figures(run: Simulation, duration_s: float) -> dict[str, dict[str, Any]]:
    """Figures of each tier that the prefix cache has below HBM, by name; bytes and counts of all replicas.

    hit_tokens: found there and not computed. read_bytes: copied towards HBM. written_bytes, dropped_bytes: copied to
    it, and those that found no room or buffer. evicted_bytes: given up. loads: how often requests waited for it, on
    average for load_s, where computing would have taken recompute_s; slower_loads of them took longer than that.
    recomputed: how often `fetch=auto` computed instead. worth_from_tokens: the shortest prefix that alone on its way
    comes faster than it is computed, None for none. drive_writes_per_day, years_to_wear_out: None without drives.
    """
    several = [replica.scheduler.tiers for replica in run.replicas if replica.scheduler.tiers]
    if not several:
        return {}
    found: dict[str, dict[str, Any]] = {}
    block_bytes = run.layout.block_bytes * run.layout.geo.tp
    for number, level in enumerate(several[0].levels):
        tallies = [tiers.tallies[number] for tiers in several]
        total = {key: sum(getattr(tally, key) for tally in tallies) for key in vars(tallies[0])}
        copies = {id(tiers.levels[number].copies): tiers.levels[number].copies for tiers in several}.values()
        written = total["written"] * block_bytes
        found[level.spec.name] = {
            "hit_tokens": total["hits"] * run.serving.block_tokens,
            "read_bytes": total["read"] * block_bytes,
            "written_bytes": written,
            "dropped_bytes": total["dropped"] * block_bytes,
            "evicted_bytes": sum(each.given_up for each in copies) * block_bytes,
            "loads": total["loads"],
            "slower_loads": total["slower"],
            "load_s": total["stalled_s"] / total["loads"] if total["loads"] else None,
            "recompute_s": total["computing_s"] / total["loads"] if total["loads"] else None,
            "recomputed": total["recomputed"],
            "worth_from_tokens": worth_from_tokens(several[0], number),
            **wear(run, level.spec.name, written, duration_s),
        }
    return found


def wear(run: Simulation, name: str, written_bytes: int, duration_s: float) -> dict[str, float | None]:
    """Of the drives of a host's tier, if what all hosts wrote is spread evenly over them."""
    tier = run.machine.tier(name)
    drive, hosts = tier.device, -(-len(run.replicas) * run.layout.geo.tp // run.machine.chips)
    if not isinstance(drive, Drive) or not duration_s:
        return {"drive_writes_per_day": None, "years_to_wear_out": None}
    rate = written_bytes / hosts / duration_s
    years = float(years_to_wear_out(drive, rate, drives=tier.count))
    return {
        "drive_writes_per_day": float(drive_writes_per_day(drive, rate, tier.count)),
        "years_to_wear_out": years if np.isfinite(years) else None,
    }


def worth_from_tokens(tiers: "Tiers", number: int, most: int = 1 << 20) -> int | None:
    """The shortest prefix, in blocks, that comes from a tier before it would be computed; None below `most` tokens."""
    low, high = 0, 1
    limit = most // tiers.serving.block_tokens
    while not tiers.worth(number, high):
        low, high = high, 2 * high
        if high > limit:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tiers.worth(number, middle) else (middle, high)
    return high * tiers.serving.block_tokens


def tier_peaks(run: Simulation) -> dict[str, int]:
    """The fullest that each tier's copies were: bytes of one chip, in the mean over those that share them."""
    peaks: dict[str, int] = {}
    several = [replica.scheduler.tiers for replica in run.replicas if replica.scheduler.tiers]
    for tiers in several:
        for level in tiers.levels:
            users = sum(other is level.copies for each in several for other in (one.copies for one in each.levels))
            peak = level.copies.peak * run.layout.block_bytes // users
            peaks[level.spec.name] = max(peak, peaks.get(level.spec.name, 0))
    return peaks


def lane_totals(run: Simulation, replicas: Iterable[Replica]) -> dict[str, tuple[int, float]]:
    """(bytes of all chips, busy seconds added up over replicas) by lane, of what tiers have moved.

    What replicas share is busy for all of them: its seconds count once for each.
    """
    found: dict[str, tuple[int, float]] = {}
    tp = run.layout.geo.tp
    per_host = min(run.machine.chips // tp, len(run.replicas))
    for replica in replicas:
        for lane, (moved, busy_s) in replica.scheduler.tiers.all.lanes.items() if replica.scheduler.tiers else ():
            so_far = found.get(lane, (0, 0.0))
            times = 1 if lane in ("h2d", "d2h") else per_host
            found[lane] = (so_far[0] + int(moved) * tp, so_far[1] + busy_s * times)
    return found
