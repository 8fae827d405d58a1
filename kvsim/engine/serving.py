"""What happens to requests: the fields that a serving preset sets and `--set` overrides."""

from dataclasses import dataclass
from typing import Literal

from kvsim.cost.overheads import LAYER_KERNELS, LEAST_KERNELS, SAMPLING_KERNELS, Graphs, Overheads
from kvsim.traits.eviction import online
from kvsim.traits.policy import require

Prefixes = Literal["hash", "radix"]
Preemption = Literal["recompute", "swap"]
Routing = Literal["round_robin", "least_tokens", "session"]
Prefetch = Literal["best_effort", "wait", "timeout"]
Fetch = Literal["always", "auto"]
Admission = Literal["prompt_fits", "reserve_prompt", "reserve_output"]


@dataclass(frozen=True)
class Serving:
    """Iteration-level batching with paged blocks. Times in seconds, sizes in tokens unless the name says otherwise.

    Attributes:
        max_num_seqs: sequences that run at once.
        max_num_batched_tokens: tokens of a step, decodes first, then prefill.
        chunked_prefill: prompts are cut to what the budget leaves; otherwise each is read whole in one step.
        static_batches: a batch is admitted when the last one is done, and decodes until its longest member is.
        block_tokens: tokens of a page. null_blocks: pages that an engine keeps for itself.
        prefix_caching: equal prefixes share blocks by hash, where trace and policy allow it.
        prefix_cache: blocks found by hash, as vLLM does it, or a radix tree that gives up whole leaves, as SGLang does.
        prefix_eviction: of blocks that no sequence uses, which go first; see `kvsim list prefix`. radix: lru only.
        preemption: what happens to the last running sequence when blocks run out.
        admission: a prompt enters when all of it would fit, allocating chunk by chunk (prompt_fits); or allocates all
            of it at once (reserve_prompt); or prompt and longest output (reserve_output), and is never preempted.
        watermark: share of the pool that admission leaves free.
        max_model_len: longest prompt and output together; 0 for what fits.
        asynchronous: the next step is planned while one runs: a step takes max(gpu, cpu), arrivals wait one step more.
        graph_tokens: largest batch that runs as a CUDA graph (or 2 x max_num_seqs), padded to a captured size; 0: none.
        mixed_graphs: how a step with prompts runs at these sizes: one graph (full), pieces between which attention is
            launched (piecewise), or kernel by kernel (none).
        layer_kernels, sampling_kernels: small kernels that a Llama's layer, and sampling, are made of.
        joins_past: the rows of a chunk's past are gathered from their pages before attention reads them.
        launch_s: host time of launching a kernel outside of a graph: 8.9 us by torch on an H100's host, measured by
            `kvsim calibrate` (launches.csv: tiny, host).
        schedule_step_s, schedule_seq_s: host time of planning a step, and for each of its sequences.
        prepare_step_s, prepare_seq_s: of building its inputs.
        gap_s: the GPU's idle time between two steps that the host does not hold up.
        kernels: words, by commas; where the machine has several kernels of a class, one whose name holds a word prices
            it, instead of the first one.
        as_executed: policies that `kernels_ref.executor` runs are priced by its own kernels, step by step.
        api_s: from a request's arrival to the queue, and from a token to the client (HTTP, tokenizer, processes).
        memory_utilization: share of the driver's memory that the engine takes.
        context_bytes: CUDA context, libraries and workspaces. graph_bytes: memory pools of captured graphs.
        kv_blocks: pages of the pool, instead of what the memory leaves; 0 for that.
        dram_utilization: share of host DRAM that the cache may fill.
        routing: of requests to replicas: in turn (round_robin), to the fewest prompt tokens of unfinished requests
            (least_tokens), or a session's all to the one that was so at its begin (session).
        weight_dtype: of the linear layers, instead of the model's.
        tiers: of the prefix cache below HBM, nearest first, such as dram:bytes=64GB+flash:writes=back; each with
            bytes=SIZE of a host, eviction=ORDER, writes=through|back|selective, depth=TRANSFERS at once,
            shared=true, and layout=page_first|layer_first|token_first.
        prefetch: of blocks behind the first tier. A request takes what has arrived by its turn (best_effort), waits for
            all (wait), or at most prefetch_timeout_s from its arrival (timeout); the rest arrives all the same.
        prefetch_timeout_s: longest wait for a prefetch.
        fetch: blocks in lower tiers are always taken, or computed again where that is foretold to be faster (auto).
        write_buffer_bytes: of a chip's blocks that wait to be written after their tier has given them up.
        swap_tier: where preemption=swap puts a sequence.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    chunked_prefill: bool = True
    static_batches: bool = False
    block_tokens: int = 16
    null_blocks: int = 0
    prefix_caching: bool = False
    prefix_cache: Prefixes = "hash"
    prefix_eviction: str = "lru"
    preemption: Preemption = "recompute"
    admission: Admission = "prompt_fits"
    watermark: float = 0.0
    max_model_len: int = 0
    asynchronous: bool = False
    graph_tokens: int = 512
    mixed_graphs: Graphs = "piecewise"
    layer_kernels: int = LAYER_KERNELS
    sampling_kernels: int = SAMPLING_KERNELS
    joins_past: bool = False
    launch_s: float = 9e-6
    schedule_step_s: float = 0.4e-3
    schedule_seq_s: float = 10e-6
    prepare_step_s: float = 1.1e-3
    prepare_seq_s: float = 0.0
    gap_s: float = 0.0
    kernels: str = ""
    as_executed: bool = False
    api_s: float = 1e-3
    memory_utilization: float = 0.9
    context_bytes: float = 0.5 * 2**30
    graph_bytes: float = 0.5 * 2**30
    kv_blocks: int = 0
    dram_utilization: float = 0.9
    routing: Routing = "round_robin"
    weight_dtype: Literal["", "bf16", "fp16", "fp8", "int8", "int4"] = ""
    tiers: str = ""
    prefetch: Prefetch = "wait"
    prefetch_timeout_s: float = 1.0
    fetch: Fetch = "always"
    write_buffer_bytes: float = 4.0 * 2**30
    swap_tier: str = "dram"

    def __post_init__(self) -> None:
        for name in ("max_num_seqs", "max_num_batched_tokens", "block_tokens"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, but got {getattr(self, name)}")
        for name in ("memory_utilization", "dram_utilization"):
            require(0 < getattr(self, name) <= 1, f"{name} must be in (0, 1], but got {getattr(self, name)}")
        for name in (
            "null_blocks", "max_model_len", "graph_tokens", "launch_s", "schedule_step_s", "schedule_seq_s",
            "prepare_step_s", "prepare_seq_s", "gap_s", "api_s", "context_bytes", "graph_bytes", "kv_blocks",
            "prefetch_timeout_s", "write_buffer_bytes",
        ):  # fmt: skip
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"{name} must be at least 0, but got {value}")
        for name, least in (("layer_kernels", LEAST_KERNELS), ("sampling_kernels", 1)):
            require(getattr(self, name) >= least, f"{name} must be at least {least}, but got {getattr(self, name)}")
        require(0 <= self.watermark < 1, f"watermark must be in [0, 1), but got {self.watermark}")
        reserved = self.admission == "reserve_output" or not self.static_batches
        require(reserved, f"static_batches needs admission reserve_output, but got {self.admission}")
        online(self.prefix_eviction)
        if self.tiers:
            from kvsim.engine.tierspec import tier_specs

            require(not tier_specs(self.tiers) or self.prefix_caching, "tiers need prefix_caching=true")
        leaves = f"prefix_cache=radix gives up least recently used leaves: no prefix_eviction={self.prefix_eviction}"
        require(self.prefix_cache == "hash" or self.prefix_eviction == "lru", leaves)
        fits = self.max_num_batched_tokens >= self.max_num_seqs
        few = f"max_num_batched_tokens must be at least max_num_seqs ({self.max_num_seqs}), but got {{}}"
        require(fits or not self.chunked_prefill, few.format(self.max_num_batched_tokens))

    @property
    def graph_sizes(self) -> tuple[int, ...]:
        """Captured batch sizes as vLLM chooses them: 1, 2, 4, by 8 to 256, by 16 above, to twice `max_num_seqs`."""
        most = min(self.graph_tokens, 2 * self.max_num_seqs)
        sizes = [1, 2, 4, *range(8, 256, 8), *range(256, most + 1, 16)]
        return tuple(size for size in sizes if size <= most)

    @property
    def overheads(self) -> Overheads:
        """What the cost model takes of it."""
        return Overheads(
            graph_sizes=self.graph_sizes,
            mixed_graphs=self.mixed_graphs,
            layer_kernels=self.layer_kernels,
            sampling_kernels=self.sampling_kernels,
            joins_past=self.joins_past,
            launch_s=self.launch_s,
            schedule_step_s=self.schedule_step_s,
            schedule_seq_s=self.schedule_seq_s,
            prepare_step_s=self.prepare_step_s,
            prepare_seq_s=self.prepare_seq_s,
            gap_s=self.gap_s,
            asynchronous=self.asynchronous,
            as_executed=self.as_executed,
        )

    @property
    def cpu_step_s(self) -> float:
        """Host time of a step."""
        return self.schedule_step_s + self.prepare_step_s

    @property
    def cpu_seq_s(self) -> float:
        """Host time of each sequence of a step."""
        return self.schedule_seq_s + self.prepare_seq_s
