"""What is fitted: for each chip and link its tables, their kernels and sources, and which parameters are known."""

from kvsim.cost.calibration import Hot
from kvsim.cost.curves.tiles import FULL_SHARE
from kvsim.validate.plan import Origin, Plan

# Where a fit starts, by class. A share is bounded by 1; so is `exposed`.
START: dict[str, dict[str, float]] = {
    "gemm": {
        "launch_s": 2e-6, "wave_s": 5e-7, "split_s": 2e-6, "tensor_share": 0.9, "edge_rows": 5.0, "memory_share": 0.85,
        "load_bytes_per_clock": 30.0, "exposed": 0.15, "group_rows": 2000.0, "l2_bytes_per_clock": 10.0,
    },
    "attention_decode": {
        "launch_s": 5e-6, "cta_s": 2e-6, "block_s": 1e-6, "memory_share": 0.85, "load_bytes_per_clock": 20.0,
        "exposed": 0.1, "merge_s": 5e-6, "split_s": 5e-8, "group_s": 5e-6, "l2_bytes_per_clock": 20.0,
    },
    "attention_prefill": {
        "launch_s": 5e-6, "cta_s": 2e-6, "block_s": 1e-6, "tensor_share": 0.6, "memory_share": 0.8, "exposed": 0.3,
        "tail": 0.5, "kv_passes": 2.0, "l2_bytes_per_clock": 20.0,
    },
    "all_reduce": {
        "launch_s": 4e-6, "hop_s": 1e-6, "start_s_1": 3e-6, "start_s_2": 2e-5, "link_share_0": 0.15,
        "link_share_1": 0.4, "link_share_2": 0.75,
    },
    "paged_decode": {
        "launch_s": 4e-6, "cta_s": 1e-6, "block_s": 7e-7, "small_block_s": 1.5e-6, "memory_share": 0.92,
        "exposed": 0.15, "load_bytes_per_clock": 20.0, "merge_s": 1.3e-6, "split_s": 3e-8,
    },
    "gathered_decode": {
        "launch_s": 2.5e-6, "cta_s": 2.8e-6, "block_s": 1.8e-6, "small_block_s": 1.3e-6, "memory_share": 0.94,
        "exposed": 0.1, "load_bytes_per_clock": 35.0, "merge_s": 1.4e-6, "split_s": 2.3e-8, "entry_s": 1e-10,
    },
    "ragged_decode": {
        "launch_s": 6e-6, "cta_s": 1e-6, "block_s": 1.6e-6, "small_block_s": 1.7e-6, "memory_share": 0.9,
        "exposed": 0.2,
    },
    "tile_gemm": {
        "launch_s": 2.5e-6, "wave_s": 5e-7, "split_s": 2.5e-6, "merge_bytes_per_clock": 20.0, "product_share": 0.75,
        "sustained_share": 0.73, "step_s": 1.8e-9, "memory_share": 0.9, "idle": 0.3,
        "load_bytes_per_clock": 70.0, "epilogue_bytes": 0.3,
    },
    "cutlass_gemm": {
        "row_s": 7e-7, "cast_s_per_k": 2e-11, "cast_l2_share": 0.8,
        **{f"start_s_{at}": 6e-6 for at in range(9)}, **{f"cta_s_{at}": 3e-6 for at in range(9)}, "step_cycles": 130.0,
        "tensor_share": 0.95, "sustained_share": 0.65, "memory_share": 0.8, "load_bytes_per_clock": 15.0,
        "exposed": 0.1, "group_rows": 2000.0, "l2_bytes_per_clock": 10.0,
    },
    "grouped_gemm": {
        "launch_s": 1e-5, "few_share": 0.35, "many_share": 0.7, "memory_share": 0.85, "step_s": 2e-9, "exposed": 0.25,
    },
    "query_tiles": {
        "launch_s": 3e-6, "cta_s": 3e-6, "block_s": 1.5e-6, "tensor_share": 0.4, "pair_s": 1.2e-11, "masked": 0.5,
        "memory_share": 0.9, "exposed": 0.2, "tail": 0.2, "kv_passes": 1.3,
    },
    "paired_tiles": {
        "launch_s": 3e-6, "cta_s": 5e-7, "alone": 1.2, "tensor_share": 0.45, "pair_s": 3e-11, "masked": 0.8,
        "memory_share": 0.9, "exposed": 0.2, "kv_passes": 1.3,
    },
    "flashinfer": {
        "launch_s": 8e-6, "launch_s_64": 1e-5, "launch_s_128": 1.2e-5, "cta_s": 2e-6, "block_s": 1e-6,
        "wide_block_s": 2e-6, "tensor_share": 0.5, "memory_share": 0.8, "load_bytes_per_clock": 11.0, "exposed": 0.1,
        "tail": 0.5, "merge_s": 1e-6, "state_s": 1e-7, "kv_passes": 1.5, "l2_bytes_per_clock": 20.0,
    },
    "balanced_decode": {
        "launch_s": 8e-6, "seq_s": 2e-8, "cta_s": 2e-6, "head_s": 1e-9, "drift_s": 5e-6, "hides_s": 1e-5,
        "block_s": 1.5e-6, "memory_share": 0.92, "ramp_s": 8e-6, "exposed": 0.1, "merge_s": 1e-6, "split_s": 6e-8,
        "l2_bytes_per_clock": 20.0,
    },
    "packed_tiles": {
        "launch_s": 9e-6, "cta_s": 1.2e-6, "block_s": 8e-7, "tensor_share": 0.8, "pair_s": 1e-11, "masked": 0.3,
        "memory_share": 0.8, "exposed": 0.9, "tail": 0.3, "kv_passes": 2.5,
    },
    "custom_all_reduce": {
        "launch_s": 4.3e-6, "peer_s": 5e-8, "one_share": 0.6, "two_start_s": 3e-6, "two_share": 0.6,
        "pair_start_s": 6e-6, "pair_share": 0.5, "sum_start_s": 6e-6, "sum_share": 0.45, "ring_start_s": 2e-5,
        "ring_share": 0.75, "switch_start_s": 8e-5, "switch_share": 0.6,
    },
    "column_sums": {"launch_s": 5e-6, "tensor_share": 0.17, "memory_share": 0.6},
    "packed_decode": {
        "launch_s": 5e-6, "page_s": 8e-6, "memory_share": 0.85, "exposed": 0.15, "split_s": 2e-8,
    },
    "pack": {"launch_s": 3e-6, "program_s": 4.5e-6, "load_bytes_per_clock": 9.0, "memory_share": 0.7},
    "compaction": {"launch_s": 3e-6, "memory_share": 0.8},
    "mla_decode": {
        "launch_s": 4e-6, "cta_s": 8e-6, "block_s": 5e-6, "few_block_s": 4e-6, "memory_share": 0.9,
    },
    "lowrank_decode": {
        "launch_s": 4e-6, "cta_s": 3e-6, "block_s": 3e-6, "rank_s": 1e-8, "memory_share": 0.9, "exposed": 0.1,
        "split_s": 2e-8,
    },
    "shared_prefix_decode": {
        "launch_s": 8e-6, "tall_s": 4e-6, "library_s": 5e-6, "block_s": 1.5e-6, "tensor_share": 0.7,
        "memory_share": 0.9, "suffix_share": 0.9,
    },
    "copy": {"start_s": 3e-6, "link_share": 0.85},
    "elementwise": {"launch_s": 2e-6, "memory_share": 0.85},
}  # fmt: skip
MOST = {
    "tensor_share": 1.0,
    "product_share": FULL_SHARE,
    "few_share": 1.0,
    "many_share": 1.0,
    "sustained_share": 1.0,
    "kept_share": 1.0,
    "output_share": 1.0,
    "memory_share": 0.95,
    "exposed": 1.0,
    "tail": 1.0,
    "link_share_2": 1.0,
    "l2_share": 1.5,
    "suffix_share": 1.0,
}


_AICONFIGURATOR = Origin("aiconfigurator 0.12.0 (PyPI)", "Apache-2.0")
_SERVINGSIM = Origin("casys-kaist/LLMServingSim @ 5daddb2, Llama-3.1-8B, eager", "MIT")
# Products of prompts: weights and outputs beyond L2, and the rate that the power limit sustains.
_LARGE = {"kept_share": 0.3, "output_share": 0.7, "sustained_share": 0.75, "epilogue_bytes": 0.3}
# cuBLAS takes kernels for vectors, and few columns or little k, by rules that it does not publish.
_SWITCHES = ((1, 16, 256, 4400), (64, 256, 1024, 2048, 4096, 8192, 16384), (64, 256, 1024, 4096, 16384))
# A decode reads its cache once; 128 rows need a group of more than 64 heads; what SMs take in is a term of its own, so
# that L2's rate only has to be higher (64 bytes a clock are what one SM can load).
_ONE_TOKEN: dict[str, float | int | bool] = {"kv_passes": 1.0, "launch_s_128": 1.2e-5, "l2_bytes_per_clock": 64.0}
_ROTATED, _REUSED = Hot(copies=6, l2_share=0.9), Hot(copies=1, l2_share=0.9)
# One prompt a row, 32 heads: too few CTAs to tell a CTA's start from the kernel's, or HBM from compute. The start is
# that of the table's 128 short decodes beside a chunk, (174 - 10) us / 32 CTAs an SM - a block of keys; the others are
# between those fitted for the L40S, of the same family, and none.
_ONE_PROMPT: dict[str, float | int | bool] = {"cta_s": 3.3e-6, "kv_passes": 1.5, "exposed": 0.2}

PLANS = (
    Plan(
        "a100-sxm-80gb", "gemm", "bf16", "cuBLAS as vLLM 0.14 calls it", ("a100_sxm_gemm.csv.gz",), _AICONFIGURATOR,
        start=_LARGE, benchmark=_ROTATED,
    ),
    Plan(
        "a100-sxm-80gb", "attention_decode", "bf16", "FlashAttention-2 of vLLM 0.14",
        ("a100_sxm_attention_decode.csv.gz",), _AICONFIGURATOR, benchmark=_REUSED,
    ),
    Plan(
        "a100-sxm-80gb", "attention_prefill", "bf16", "FlashAttention-2 of vLLM 0.14",
        ("a100_sxm_attention_prefill.csv.gz",), _AICONFIGURATOR, benchmark=_REUSED,
    ),
    Plan(
        "l40s", "gemm", "bf16", "cuBLAS as vLLM 0.24 calls it", ("l40s_gemm.csv.gz",), _AICONFIGURATOR,
        start=_LARGE, switches=_SWITCHES, benchmark=_ROTATED,
    ),
    Plan(
        "l40s", "gemm", "fp8", "CUTLASS of vLLM 0.24, with the cast of activations", ("l40s_gemm.csv.gz",),
        _AICONFIGURATOR, form="cutlass_gemm", benchmark=_ROTATED,
    ),
    Plan(
        "l40s", "attention_decode", "bf16", "FlashAttention-2 of vLLM 0.24", ("l40s_attention_decode.csv.gz",),
        _AICONFIGURATOR, benchmark=_REUSED,
    ),
    Plan(
        "l40s", "attention_decode", "fp8", "FlashInfer of vLLM 0.24", ("l40s_attention_decode.csv.gz",),
        _AICONFIGURATOR, form="flashinfer", given=_ONE_TOKEN, benchmark=_REUSED,
    ),
    Plan(
        "l40s", "attention_prefill", "bf16", "FlashAttention-2 of vLLM 0.24", ("l40s_attention_prefill.csv.gz",),
        _AICONFIGURATOR, benchmark=_REUSED,
    ),
    Plan(
        "l40s", "attention_prefill", "fp8", "FlashInfer of vLLM 0.24", ("l40s_attention_prefill.csv.gz",),
        _AICONFIGURATOR, form="flashinfer", benchmark=_REUSED,
    ),
    Plan(
        "rtx-4090", "gemm", "bf16", "cuBLAS as vLLM 0.19 calls it",
        ("rtx4090_dense.csv.gz", "rtx4090_per_sequence.csv.gz"), _SERVINGSIM,
    ),
    Plan(
        "rtx-4090", "attention_decode", "bf16", "FlashAttention-2 of vLLM 0.19", ("rtx4090_attention.csv.gz",),
        _SERVINGSIM, benchmark=_REUSED,
    ),
    Plan(
        "rtx-4090", "attention_prefill", "bf16", "FlashAttention-2 of vLLM 0.19", ("rtx4090_attention.csv.gz",),
        _SERVINGSIM, given=_ONE_PROMPT, benchmark=_REUSED,
    ),
    Plan("nvlink3", "all_reduce", "bf16", "NCCL 2.27", ("a100_sxm_nccl.csv.gz",), _AICONFIGURATOR),
)  # fmt: skip
