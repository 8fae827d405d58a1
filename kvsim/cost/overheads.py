"""What a step costs beyond its Ops, as terms with names: small kernels, padding, launches, host work, the gap between.

A serving preset sets the figures and says where they come from; `kvsim step --serving` shows the terms.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from kvsim.cost.op import Op

Graphs = Literal["full", "piecewise", "none"]
LAYER_KERNELS = 5  # of a Llama layer that the Ops have: two norms with their residual, rotary, cache write, activation
LEAST_KERNELS = 4  # where rotary and the cache write are one
SAMPLING_KERNELS = 4  # softmax, top-k, top-p and the draw
_PIECES = 3  # launches of a layer whose graph is cut at attention: the graph, the cache write, attention


@dataclass(frozen=True)
class Overheads:
    """Of an engine. Host times in seconds; a host that plans while the GPU works is `asynchronous`.

    Attributes:
        graph_sizes: batches (tokens) that were captured; a step is padded to the next one.
        mixed_graphs: how a step that reads prompts runs at these sizes: as one graph, as pieces with attention between
            them, or launched kernel by kernel.
        layer_kernels, sampling_kernels: small kernels that a layer of a Llama, and sampling, are made of.
        joins_past: whether the rows of a chunk's past are gathered from their pages before attention reads them.
        launch_s: of the host, for a kernel outside of a graph: the GPU waits when its kernels are shorter.
        schedule_step_s, schedule_seq_s: planning a step, and each of its sequences.
        prepare_step_s, prepare_seq_s: building its inputs.
        gap_s: from the last kernel of a step to the first of the next, when the host is not what it waits for.
        as_executed: policies that `kernels_ref.executor` runs are priced by its kernels (`kvsim/cost/executed`).
    """

    graph_sizes: tuple[int, ...] = ()
    mixed_graphs: Graphs = "full"
    layer_kernels: int = LAYER_KERNELS
    sampling_kernels: int = SAMPLING_KERNELS
    joins_past: bool = False
    launch_s: float = 0.0
    schedule_step_s: float = 0.0
    schedule_seq_s: float = 0.0
    prepare_step_s: float = 0.0
    prepare_seq_s: float = 0.0
    gap_s: float = 0.0
    asynchronous: bool = False
    as_executed: bool = False

    @property
    def largest_graph(self) -> int:
        """Tokens of the largest captured batch; 0 for none."""
        return self.graph_sizes[-1] if self.graph_sizes else 0

    def graphed(self, tokens: int, reads_prompts: bool) -> Graphs:
        """How a step of `tokens` tokens runs."""
        if not self.graph_sizes or tokens > self.largest_graph:
            return "none"
        return self.mixed_graphs if reads_prompts else "full"

    def padded(self, tokens: int, reads_prompts: bool) -> int:
        """Tokens that a step's kernels see."""
        if self.graphed(tokens, reads_prompts) == "none":
            return tokens
        return next(size for size in self.graph_sizes if size >= tokens)

    def launched(self, tokens: int, reads_prompts: bool, kernels: float, layers: int) -> float:
        """Of a step's `kernels`, those that the host launches one by one."""
        how = self.graphed(tokens, reads_prompts)
        return {"full": 0.0, "piecewise": float(min(kernels, _PIECES * layers)), "none": kernels}[how]

    def host_s(self, sequences: int) -> float:
        """Seconds of the host for a step."""
        step_s = self.schedule_step_s + self.prepare_step_s
        return step_s + (self.schedule_seq_s + self.prepare_seq_s) * sequences


NONE = Overheads()


def launches(ops: Iterable[Op], lanes: tuple[str, ...]) -> float:
    """Kernels that the Ops on these lanes launch."""
    return sum(op.count * op.launches for op in ops if op.lane in lanes)


def step_terms(
    overheads: Overheads, work_s: float, unpadded_s: float, launched: float, sequences: int
) -> dict[str, float]:
    """Seconds of a step by what they are spent on; they add up to the step's.

    Args:
        work_s: its Ops' seconds after overlap, padded; `unpadded_s`: as if it were not.
        launched: kernels that the host launches one by one.
    """
    launching_s = launched * overheads.launch_s
    gpu_s = max(work_s, launching_s)
    schedule_s = overheads.schedule_step_s + overheads.schedule_seq_s * sequences
    prepare_s = overheads.prepare_step_s + overheads.prepare_seq_s * sequences
    hidden_s = min(gpu_s, schedule_s + prepare_s) if overheads.asynchronous else 0.0
    return {
        "ops": unpadded_s,
        "padding": work_s - unpadded_s,
        "launches": gpu_s - work_s,
        "scheduling": schedule_s,
        "input preparation": prepare_s,
        "hidden by the GPU": -hidden_s if hidden_s else 0.0,
        "gap between steps": overheads.gap_s,
    }
