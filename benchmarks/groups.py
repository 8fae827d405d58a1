"""What ragged budgets cost the engine: 1, 8 and 32 layer groups, priced together and one by one.

Linear groups share a ledger row; groups whose bound can change (2-bit) are priced each. Ratios are to one group.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from kvsim import find
from kvsim.cost.geometry import Geometry, LayerKind
from kvsim.engine.simulate import simulate
from kvsim.replay import serving_preset
from kvsim.traces.open import open_trace
from kvsim.traits.encoding import GroupQuantizer, Ints, Quantizer
from kvsim.traits.policy import policy
from kvsim.traits.retention import Retention


@dataclass(frozen=True)
class Budgets(Retention):
    """`count` groups of layers, each with a window of its own."""

    count: int

    def label(self, geo: Geometry, layer: int) -> object:
        return layer * self.count // geo.model.layers

    def kept(self, prompt: int | Ints, context: Ints, kinds: tuple[LayerKind, ...]) -> Ints:
        windows = np.arange(1, self.count + 1) * 1024
        return np.minimum(context, windows.reshape(-1, *[1] * context.ndim))[:, None]


def main() -> None:
    trace, _ = open_trace("poisson-1135-212")
    machine, model = find.machine("a100-80"), find.model("llama-2-7b")
    serving = serving_preset("vllm", {"max_num_batched_tokens": 512})
    encodings: tuple[tuple[str, Quantizer], ...] = (("16 bit", Quantizer()), ("2 bit", GroupQuantizer()))
    for name, quantizer in encodings:
        first = 0.0
        for count in (1, 8, 32):
            chosen = replace(policy("full"), retention=Budgets(count), quantizer=quantizer, reuse="none")
            best = float("inf")
            for _ in range(3):
                begun = time.perf_counter()
                run = simulate(trace, machine, model, chosen, serving)
                seconds = time.perf_counter() - begun
                best = min(best, seconds / (len(trace) + run.replicas[0].counters.events) * 1e6)
            first = first or best
            print(f"{name}: {count:2} groups {best:6.1f} us/event {best / first:5.2f}x")


if __name__ == "__main__":
    main()
