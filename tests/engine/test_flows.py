"""Transfers that share links: fair shares, conservation, and queues at a drive."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvsim.engine.clock import ARRIVAL, Clock
from kvsim.engine.flows import Flow, Link, Network, Way, shares


def sent(jobs: list[tuple[float, Way, float]]) -> tuple[list[float], Network]:
    """Ends of transfers (start, way, bytes), all on one clock."""
    clock = Clock()
    network, ends = Network(clock), [inf] * len(jobs)

    def begin(number: int) -> None:
        def end() -> None:
            ends[number] = clock.now

        network.start(jobs[number][1], jobs[number][2], end)

    for number, (start_s, _, _) in enumerate(jobs):
        clock.at(start_s, ARRIVAL, lambda call, number=number: begin(number))  # type: ignore[misc]
    clock.run_until(None)
    return ends, network


def test_two_on_one_link_get_half_each_and_the_whole_when_alone() -> None:
    link = Link("pcie")
    way = ((link, 1 / 10.0),)
    assert sent([(0.0, way, 100.0)])[0] == [10.0]
    assert sent([(0.0, way, 100.0), (0.0, way, 100.0)])[0] == [20.0, 20.0]
    ends, _ = sent([(0.0, way, 100.0), (4.0, way, 30.0)])  # alone to 4 s, shared to 10 s, alone again
    assert ends == pytest.approx([13.0, 10.0])
    assert link.moved_bytes == 430 and link.busy_s == pytest.approx(43.0)


def test_what_one_cannot_use_goes_to_the_others() -> None:
    """A drive of 2 bytes/s behind a link of 10: its reader takes 2, the other reader the other 8."""
    drive, link = Link("drive"), Link("pcie")
    ends, _ = sent([(0.0, ((drive, 0.5), (link, 0.1)), 20.0), (0.0, ((link, 0.1),), 80.0)])
    assert ends == pytest.approx([10.0, 10.0])


def test_latency_comes_first_and_a_stopped_transfer_leaves_what_arrived() -> None:
    clock, link = Clock(), Link("nic")
    network, log = Network(clock), []
    flow = network.start(((link, 0.1),), 100.0, lambda: log.append(clock.now), latency_s=1.0)
    other = network.start(((link, 0.1),), 100.0, lambda: log.append(clock.now))
    clock.at(3.0, ARRIVAL, lambda call: log.append(network.stop(flow)))
    clock.run_until(None)
    assert log == [10.0, 11.0]  # 2 s of half the link had brought 10 bytes; the other: 1 + 2 / 2 + 9 - 0 s
    assert other.done and network.seconds_left(other) == 0
    assert link.moved_bytes == pytest.approx(110.0)


def test_what_takes_no_time_has_ended_at_once() -> None:
    network, log = Network(Clock()), []
    network.start(((Link("infinite"), 0.0),), 1e12, lambda: log.append("end"))
    assert log == ["end"]


def test_the_seconds_of_a_transfer_are_foretold() -> None:
    clock, link = Clock(), Link("pcie")
    network, way, log = Network(clock), ((link, 0.1),), []
    network.start(way, 1000.0, lambda: None)
    assert network.seconds(way, 100.0) == pytest.approx(20.0)
    flow = network.start(way, 100.0, lambda: log.append(clock.now))
    assert network.seconds_left(flow) == pytest.approx(20.0)
    clock.run_until(None)
    assert log == pytest.approx([20.0])


LINKS = 4
costs = st.sampled_from([0.1, 0.25, 1.0, 3.0])
ways = st.dictionaries(st.integers(0, LINKS - 1), costs, min_size=1, max_size=LINKS)


@given(st.lists(st.tuples(ways, st.sampled_from([inf, 0.05, 2.0])), min_size=1, max_size=8))
def test_rates_are_max_min_fair(drawn: list[tuple[dict[int, float], float]]) -> None:
    """No link beyond its capacity; each flow is at its limit, or at a full link where none is faster."""
    links = [Link(str(i)) for i in range(LINKS)]
    flows = [Flow(tuple((links[i], cost) for i, cost in way.items()), 1.0, lambda: None, cap) for way, cap in drawn]
    rates = dict(zip(flows, shares(flows), strict=True))
    used = {link: sum(rates[f] * cost for f in flows for at, cost in f.way if at is link) for link in links}
    assert all(share <= 1 + 1e-9 for share in used.values())
    for flow in flows:
        full = [link for link, _ in flow.way if used[link] >= 1 - 1e-9]
        fastest = [max(rates[f] for f in flows if any(at is link for at, _ in f.way)) for link in full]
        assert rates[flow] == flow.limit or any(rates[flow] >= most * (1 - 1e-9) for most in fastest)


jobs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.5, 1.0, 7.3]), ways, st.sampled_from([0.0, 1.0, 17.0, 1e6])),
    min_size=1,
    max_size=9,
)


@given(jobs, st.sampled_from([1, 2, inf]))
def test_bytes_are_conserved(drawn: list[tuple[float, dict[int, float], float]], depth: float) -> None:
    """All that was sent arrives, no sooner than alone; a link carries what crossed it, never more than it can."""
    links = [Link(str(i), depth if i == 0 else inf) for i in range(LINKS)]
    plan = [(start, tuple((links[i], cost) for i, cost in way.items()), sent_) for start, way, sent_ in drawn]
    ends, _ = sent(plan)
    for end, (start, way, nbytes) in zip(ends, plan, strict=True):
        alone = nbytes * max(cost for _, cost in way)
        assert end < inf and end - start >= alone * (1 - 1e-9) - 1e-9
    for number, link in enumerate(links):
        crossed = [(start, nbytes, way[number]) for start, way, nbytes in drawn if number in way]
        assert link.moved_bytes == sum(nbytes for _, nbytes, _ in crossed)
        assert link.busy_s == pytest.approx(sum(nbytes * cost for _, nbytes, cost in crossed))
        assert not link.flows and not link.queue
        assert link.busy_s <= max(ends) * (1 + 1e-9)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_a_drive_that_serves_one_by_one_is_an_m_d_1_queue(load: float) -> None:
    """Each wait is Lindley's; their mean is Pollaczek and Khinchine's within three standard errors of 40 batches."""
    count, service_s = 20_000, 1e-4
    starts = np.cumsum(np.random.default_rng(5).exponential(service_s / load, count))
    way = ((Link("drive", depth=1), service_s / 4096),)
    ends, _ = sent([(float(start), way, 4096.0) for start in starts])
    waits, wait = [], 0.0
    for gap in [inf, *np.diff(starts)]:
        wait = max(0.0, wait + (service_s if waits else 0.0) - gap)
        waits.append(wait)
    np.testing.assert_allclose(np.array(ends) - starts - service_s, waits, atol=1e-9)
    batches = np.array(waits).reshape(40, -1).mean(axis=1)
    expected_s = load * service_s / (2 * (1 - load))
    assert abs(batches.mean() - expected_s) < 3 * batches.std(ddof=1) / 40**0.5


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_a_drive_that_serves_all_at_once_shares_its_processor(load: float) -> None:
    """M/D/1 with processor sharing: a response of s / (1 - load) in the mean, within 3 standard errors."""
    count, service_s = 10_000, 1e-4
    starts = np.cumsum(np.random.default_rng(6).exponential(service_s / load, count))
    way = ((Link("drive"), service_s / 4096),)
    ends, _ = sent([(float(start), way, 4096.0) for start in starts])
    response = np.array(ends) - starts
    batches = response.reshape(40, -1).mean(axis=1)
    assert abs(batches.mean() - service_s / (1 - load)) < 3 * batches.std(ddof=1) / 40**0.5
