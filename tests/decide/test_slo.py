"""Limits by name, and whether a run keeps them: at its end, and on the way there."""

from typing import Any

import numpy as np
import pytest

import kvsim
from kvsim import find
from kvsim.decide.slo import FIGURES, Slo, figure_of, slos
from kvsim.decide.watch import Missed, Watch, figure, figures, holds
from kvsim.engine.simulate import simulate
from kvsim.errors import UserError
from kvsim.replay import serving_preset
from kvsim.traces.open import open_trace
from kvsim.traits.policy import policy


def test_limits() -> None:
    assert slos("ttft_p99=2s, tpot_mean=50 ms") == (Slo("ttft_p99", 2.0), Slo("tpot_mean", 0.05))
    assert figure_of("queue_p50") == ("queue_s", "p50")
    assert len(FIGURES) == 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "slo must be FIGURE=TIME"),
        ("ttft_p99", "slo must be FIGURE=TIME,... such as ttft_p99=2s, but got 'ttft_p99'"),
        ("ttft_p98=2s", "slo: unknown figure 'ttft_p98': did you mean ttft_p9"),
        ("speed=2s", "slo: unknown figure 'speed'"),
        ("ttft_p99=2", "slo: ttft_p99 must have a unit of s"),
        ("ttft_p99=2 GB", "slo: ttft_p99 must have a unit of s"),
        ("ttft_p99=0s", "slo: ttft_p99 must be more than 0 s"),
        ("ttft_p99=-1s", "more than 0 s"),
        ("ttft_p99=1s,ttft_p99=2s", "slo: ttft_p99 is given twice"),
    ],
)
def test_mistakes(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        slos(text)
    assert message in str(error.value)


def _simulate(observers: Any = (), **settings: Any) -> Any:
    trace, _ = open_trace("quickstart", limit=120)
    names = (find.machine("rtx4090"), find.model("llama-3-8b"), policy("full"), serving_preset("vllm", settings))
    return simulate(trace, *names, observers=observers)


def test_figures_are_those_of_a_report() -> None:
    found = kvsim.run("quickstart", limit=120, hw="rtx4090", policy="full")
    limits = [Slo(key, 1.0) for key in FIGURES]
    said = figures(found.simulation.columns, limits)
    for key, (name, rank) in FIGURES.items():
        assert said[key] == pytest.approx(found.figures[name][rank], rel=1e-12), key


def test_what_is_known_on_the_way_only_grows_to_the_end() -> None:
    limits = [Slo(key, 1.0) for key in FIGURES]
    seen: list[list[float]] = []

    def look(replica: Any, span: Any) -> None:
        seen.append([figure(replica.columns, slo, replica.clock.now) or 0.0 for slo in limits])

    run = _simulate((look,))
    seen.append([figure(run.columns, slo, np.inf) or 0.0 for slo in limits])
    assert len(seen) > 100
    assert (np.diff(np.array(seen), axis=0) >= -1e-9).all()


def test_a_rejected_request_takes_forever() -> None:
    columns = _simulate(max_model_len=2000).columns
    share = columns.rejected.mean()
    assert 0.05 < share < 0.5
    assert figure(columns, Slo("ttft_p99", 1.0), np.inf) is None
    assert figure(columns, Slo("ttft_mean", 1.0), np.inf) is None
    assert figure(columns, Slo("ttft_p50", 1.0), np.inf)
    assert not holds({"ttft_p99": None}, [Slo("ttft_p99", 1e9)])


def test_a_run_is_given_up_only_if_it_would_miss() -> None:
    final = figures(_simulate().columns, [Slo("e2e_p90", 1.0)])["e2e_p90"]
    assert final
    with pytest.raises(Missed):
        _simulate((Watch([Slo("e2e_p90", final / 2)]),))
    assert _simulate((Watch([Slo("e2e_p90", final)]),)).columns.done_s.max() > 0
