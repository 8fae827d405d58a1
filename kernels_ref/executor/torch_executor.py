"""The executor that `--executor torch` names: a decoder with a cache runs each step of a replica on the device."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from kernels_ref.executor.batch import Held
from kernels_ref.executor.decoder import Decoder
from kernels_ref.executor.parallel import Alone, Group, of_environment
from kernels_ref.executor.policies import WIDTH_TOKENS, Room, cache_of
from kernels_ref.executor.runner import Ran, Runner
from kernels_ref.executor.shape import shape_of
from kernels_ref.executor.texts import Texts
from kernels_ref.executor.warmup import warm_up
from kernels_ref.executor.weights import Named, drawn, from_named
from kvsim.engine.executor import Executed, ExecutorFactory, Step
from kvsim.engine.replica import Replica
from kvsim.engine.simulate import Simulation
from kvsim.errors import UserError, unknown
from kvsim.traits.policy import parameters


@dataclass(frozen=True)
class Options:
    """How to execute.

    Attributes:
        device: "cuda" or "cpu". dtype: instead of the model's. seed: of random weights. named: weights instead.
        fused: Triton kernels; None: where there is a GPU. decoder: made before, for another run of the same model.
        group: the chips of a tensor-parallel replica. prompts: tokens of requests, instead of made-up ones.
        layers: of the model, instead of its own; 0 for those.
        check: after each step compare the bytes that every sequence holds with the cost side's.
        clock: seconds that a step counts for, instead of what it took.
        on_step: called with each step and what it took.
    """

    device: str = "cuda"
    dtype: torch.dtype | None = None
    seed: int = 0
    named: Named | None = None
    fused: bool | None = None
    decoder: Decoder | None = None
    group: Group = field(default_factory=Alone)
    prompts: dict[int, list[int]] | None = None
    widths: tuple[int, ...] = WIDTH_TOKENS
    layers: int = 0
    check: bool = False
    clock: Callable[[Step, Ran], float] | None = None
    on_step: Callable[[Step, Ran], None] | None = None


@dataclass(frozen=True)
class Torch:
    """What may follow the executor's name on a command line: `torch:device=cpu:seed=1`."""

    device: str = "cuda"
    seed: int = 0


def factory(pairs: list[str]) -> ExecutorFactory:
    """Makes executors with parameters `k=v`; under `torchrun` each process runs one chip of the replica.

    Raises:
        UserError: an unknown parameter, or no such device.
    """
    chosen = parameters(Torch, pairs, "executor torch")
    if chosen.device not in ("cpu", "cuda"):
        raise unknown("device", chosen.device, ("cpu", "cuda"), "executor torch")
    _check_device(chosen.device)
    group, device = of_environment(chosen.device)
    options = Options(device, seed=chosen.seed, group=group)
    return lambda simulation, replica: TorchExecutor(simulation, replica, options)


class TorchExecutor:
    """Executes one replica. Random weights give random tokens: shapes, not words, decide how long a step takes."""

    def __init__(self, simulation: Simulation, replica: Replica, options: Options) -> None:
        layout, serving, trace = simulation.layout, simulation.serving, simulation.trace
        if serving.prefix_caching and serving.prefix_cache == "radix":
            raise UserError("executor torch finds prefixes by hash; set prefix_cache=hash")
        if layout.geo.tp != options.group.size:
            raise UserError(
                f"executor torch: tp {layout.geo.tp} takes as many processes, but there is {options.group.size}"
            )
        self.options, self.replica, self.layout = options, replica, layout
        longest = int((trace.prompt_tokens + trace.output_tokens).max()) + 1
        self.decoder = options.decoder or decoder_of(layout.geo.model, longest, options, layout.geo.tp)
        if len(self.decoder.turns[0]) < longest:
            raise UserError(f"executor torch: requests reach {longest:,} tokens, the decoder was made for fewer")
        pool = simulation.capacity.pool_bytes[layout.policy.placement.home]
        room = Room(pool // layout.block_bytes + 1, serving.max_num_seqs, longest, options.widths)
        try:
            self.cache = cache_of(layout, self.decoder, room)
        except RuntimeError as failure:
            if "allocate" not in str(failure):
                raise
            took = f"{pool / 1e9:.1f} GB of cache"
            raise UserError(f"executor torch: there is no room for {took}; --set kv_blocks=N takes fewer") from None
        self.runner = Runner(self.decoder, self.cache, serving.graph_sizes)
        self.texts = Texts(trace, self.decoder.shape.vocab * layout.geo.tp, options.prompts)
        prefixes = replica.scheduler.memory.cache
        if prefixes is not None:
            self.cache.know(lambda run: sum(blocks for _, blocks in prefixes.lookup([(run, 1 << 40)])))
        if self.runner.gpu:
            room_tokens = (room.pages - 1) * layout.block_tokens
            warm_up(self.runner, room_tokens, serving.max_num_batched_tokens, longest)
        self._memory, self._whole = replica.scheduler.memory, serving.admission != "reserve_output"
        self._asynchronous = serving.asynchronous

    def step(self, step: Step) -> Executed:
        """Run it; the tokens it emits are read by later steps."""
        self._memory.settle()
        padded = self.runner.padded(len(step.decoding), len(step.chunks))
        batch = self.cache.prepare(step, self.texts, padded)
        if self.options.check:
            self._check(step)
        batch.frozen = self.runner.gpu and not self.cache.graphed and batch.tokens > 0
        ran = self.runner.run(batch)
        self.runner.forget(batch)
        decoding = [step.decoding[i] for i in batch.order]
        emitting = [*decoding, *(seq for seq, c in zip(step.chunks, batch.chunks, strict=True) if c.last)]
        for seq, token in zip(emitting, ran.tokens, strict=True):
            self.texts.append(seq.index, token)
        self.cache.done(batch)
        if self.options.on_step:
            self.options.on_step(step, ran)
        host_s = max(0.0, ran.wall_s - ran.gpu_s)
        seconds = ran.gpu_s if self._asynchronous else ran.gpu_s + host_s
        seconds = self.options.clock(step, ran) if self.options.clock else seconds
        return Executed(self.options.group.agreed(seconds), ran.gpu_s, host_s)

    def close(self) -> None:
        """Nothing outlives the object."""

    def _check(self, step: Step) -> None:
        """Every sequence holds the bytes that the engine counts for it."""
        for seq in (*step.decoding, *step.chunks):
            held: Held = self.cache.held[seq.index]
            if seq in step.chunks or seq.rows is None:
                counted = seq.home
            elif self._whole:
                counted = int(seq.rows[self._memory.home_row, step.decode_step - seq.start])
            else:
                continue
            found = self.cache.held_bytes(held)
            if found != counted:
                raise RuntimeError(f"request {seq.index} holds {found} bytes, the cost side says {counted}")


def decoder_of(model, positions: int, options: Options, tp: int = 1) -> Decoder:  # type: ignore[no-untyped-def]
    """A decoder of `model` with random or given weights, for contexts up to `positions`.

    Raises:
        UserError: no GPU, or a model that is not executed.
    """
    _check_device(options.device)
    shape = shape_of(model, tp, options.dtype)
    named = options.named or drawn(shape, options.device, options.seed)
    weights = from_named(shape, named, options.device, options.group.rank)
    fused = options.device.startswith("cuda") if options.fused is None else options.fused
    return Decoder(shape, weights, positions, fused, options.group)


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("executor torch: there is no CUDA device here; torch:device=cpu runs a small model without one")
