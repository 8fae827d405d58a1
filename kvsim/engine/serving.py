"""What happens to requests: the fields that a serving preset sets and `--set` overrides."""

from dataclasses import dataclass
from typing import Literal

from kvsim.engine.tierspec import tier_specs
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
        graph_tokens: largest batch that runs as a CUDA graph, padded to a captured size; 0 for none.
        cpu_step_s, cpu_seq_s: host time of a step, and for each of its sequences.
        api_s: from a request's arrival to the queue (HTTP, tokenizer).
        memory_utilization: share of the driver's memory that the engine takes.
        context_bytes: CUDA context, libraries and workspaces. graph_bytes: memory pools of captured graphs.
        kv_blocks: pages of the pool, instead of what the memory leaves; 0 for that.
        dram_utilization: share of host DRAM that the cache may fill.
        routing: of requests to replicas: in turn (round_robin), to the fewest prompt tokens of unfinished requests
            (least_tokens), or a session's all to the one that was so at its begin (session).
        weight_dtype: of the linear layers, instead of the model's.
        tiers: of the prefix cache below HBM, nearest first, such as dram:bytes=64GB+flash:writes=back; each with
            bytes=SIZE of a host, eviction=ORDER, writes=through|back|selective, shared=true, and
            layout=page_first|layer_first|token_first.
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
    cpu_step_s: float = 1.5e-3
    cpu_seq_s: float = 10e-6
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
            "null_blocks", "max_model_len", "graph_tokens", "cpu_step_s", "cpu_seq_s", "api_s", "context_bytes",
            "graph_bytes", "kv_blocks", "prefetch_timeout_s", "write_buffer_bytes",
        ):  # fmt: skip
            value = getattr(self, name)
            require(0 <= value < float("inf"), f"{name} must be at least 0, but got {value}")
        require(0 <= self.watermark < 1, f"watermark must be in [0, 1), but got {self.watermark}")
        reserved = self.admission == "reserve_output" or not self.static_batches
        require(reserved, f"static_batches needs admission reserve_output, but got {self.admission}")
        online(self.prefix_eviction)
        require(not tier_specs(self.tiers) or self.prefix_caching, "tiers need prefix_caching=true")
        leaves = f"prefix_cache=radix gives up least recently used leaves: no prefix_eviction={self.prefix_eviction}"
        require(self.prefix_cache == "hash" or self.prefix_eviction == "lru", leaves)
        fits = self.max_num_batched_tokens >= self.max_num_seqs
        few = f"max_num_batched_tokens must be at least max_num_seqs ({self.max_num_seqs}), but got {{}}"
        require(fits or not self.chunked_prefill, few.format(self.max_num_batched_tokens))

    @property
    def graph_sizes(self) -> tuple[int, ...]:
        """Captured batch sizes as vLLM chooses them: 1, 2, 4, by 8 to 256, by 16 above."""
        sizes = [1, 2, 4, *range(8, 256, 8), *range(256, self.graph_tokens + 1, 16)]
        return tuple(size for size in sizes if size <= self.graph_tokens)
