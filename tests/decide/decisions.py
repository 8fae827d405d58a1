"""Random decisions, whose named changes are held against plans of machines from files."""

from pathlib import Path

import numpy as np
import yaml

import kvsim
from kvsim import find
from kvsim.decide.perturb import perturbed
from kvsim.decide.plan import Plan
from kvsim.decide.sensitivity import FARTHEST, Change
from kvsim.specs.hardware import Machine
from kvsim.traces.trace import Trace

MACHINES = ("h100", "h200", "a6000")  # written to files, which have no kernel curves, changed or not
POLICIES = ("full", "kivi", "kivi:bits=4", "snapkv:capacity=512", "streaming", "headinfer", "fp8")


def written(machine: Machine, folder: Path, name: str) -> str:
    """A system file with the machine's figures, as a user would write it."""

    def plain(spec: object) -> dict[str, object]:
        units = {
            "capacity": "B", "l2": "B", "bandwidth": "B/s", "clock": "Hz", "power": "W", "idle_power": "W",
            "latency": "s", "bf16": "FLOP/s", "fp16": "FLOP/s", "fp8": "FLOP/s", "int8": "FLOP/s", "fp32": "FLOP/s",
            "flops": "FLOP/s", "core": "B/s", "rate": "B/s", "line": "B", "row_loss": "B", "dispatch": "s",
        }  # fmt: skip
        found: dict[str, object] = {}
        for key, value in spec.model_dump(exclude_none=True).items():  # type: ignore[attr-defined]
            inner = getattr(spec, key)
            if hasattr(inner, "model_dump"):
                found[key] = plain(inner)
            else:
                found[key] = f"{value!r} {units[key]}" if key in units else value
        return found

    system = {
        "name": machine.name,
        "chip": plain(machine.chip),
        "host_link": plain(machine.host_link),
        "peer_links": [plain(link) for link in machine.peer_links],
        "host": plain(machine.host),
        "price": f"{machine.price_usd_per_h!r} USD/h",
        "chips": machine.chips,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(system))
    return str(path)


class Question:
    """A random plan: two machines, two policies, a trace, limits that can be kept."""

    def __init__(self, seed: int, folder: Path) -> None:
        draw = np.random.default_rng(seed)
        requests = 60
        arrival_s = np.cumsum(draw.exponential(0.1, requests))
        lengths = draw.integers(50, 4000, requests), draw.integers(2, 80, requests)
        self.trace = Trace("drawn", arrival_s - arrival_s[0], *lengths)
        names = [str(name) for name in draw.choice(MACHINES, 2, replace=False)]
        self.hw = [written(find.machine(name), folder, name) for name in names]
        self.policies = [str(name) for name in draw.choice(POLICIES, 2, replace=False)]
        self.by = str(draw.choice(["usd_per_mtok", "joules_per_token"]))
        self.slo = f"ttft_p90={draw.uniform(1, 4):.3f}s,tpot_p90={draw.uniform(60, 200):.1f}ms"
        self.folder = folder

    def ask(self, hw: list[str], sensitive: bool) -> Plan:
        """The plan with these machines in the places of its own."""
        return kvsim.plan(
            self.trace, hw=hw, policy=self.policies, slo=self.slo, by=self.by, copies_most=24, sensitive=sensitive,
            workers=1,
        )  # fmt: skip

    def best(self, change: Change, factor: float) -> int | None:
        """Which row is the best when the change's figure has `factor` times its value, by a file."""
        machine = perturbed(find.machine(change.hw), change.figure, factor)
        name = f"{Path(change.hw).stem}-{change.figure}-{factor:.6f}".replace(" ", "-").replace("/", "-")
        path = written(machine, self.folder, name)
        rows = self.ask([path if hw == change.hw else hw for hw in self.hw], sensitive=False).rows
        return next((number for number, row in enumerate(rows) if row.best), None)


def check(question: Question) -> int:
    """Hold every named change of a decision against plans of machines from files; how many there were."""
    found = question.ask(question.hw, sensitive=True)
    mine = next((number for number, row in enumerate(found.rows) if row.best), None)
    assert (mine is None) == (found.sensitivity is None)
    named = [change for change in found.sensitivity or () if change.factor is not None]
    for change in named:
        assert change.factor is not None and 1 / FARTHEST <= change.factor <= FARTHEST
        then = question.best(change, change.factor)
        assert then != mine, change
        winner = None if then is None else found.rows[then].system
        assert winner == change.winner, change
        assert question.best(change, change.factor**0.5) == mine, change
    return len(named)
