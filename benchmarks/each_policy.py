"""What each policy costs the engine: a replay's processor time with it against the full cache's, slowest first.

The goal is 2x up to 8 head groups and 4x where layers are ragged. `python benchmarks/each_policy.py [POLICY ...]`.
"""

import sys
import time

from kvsim import find
from kvsim.engine.simulate import simulate
from kvsim.replay import serving_preset
from kvsim.traces.open import open_trace
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy

BLOCK_TOKENS = 16
REPEATS = 3
GROUPS_OF_FEW, FEW, RAGGED = 8, 2.0, 4.0


def main() -> None:
    """Prints a line a policy."""
    trace, _ = open_trace("poisson-1135-212")
    machine, model = find.machine("h100+4csd"), find.model("llama-3-8b")
    serving = serving_preset("vllm", {})

    def wall_s(name: str) -> float:
        best = float("inf")
        for _ in range(REPEATS):
            begun = time.process_time()
            simulate(trace, machine, model, policy(name), serving)
            best = min(best, time.process_time() - begun)
        return best

    full = wall_s("full")
    print(f"full: {full:.3f} s for {len(trace):,} requests")
    rows = []
    for name in sys.argv[1:] or find.paper_names("kv"):
        groups = len(Layout(policy(name), model, 1, BLOCK_TOKENS).groups.heads)
        rows.append((wall_s(name) / full, groups, name))
    for ratio, groups, name in sorted(rows, reverse=True):
        goal = FEW if groups <= GROUPS_OF_FEW else RAGGED
        print(f"{ratio:5.2f}x  {groups:3} groups  {name}{'  above its goal' if ratio > goal else ''}", flush=True)


if __name__ == "__main__":
    main()
