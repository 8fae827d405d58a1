"""What is fitted to tables of other people's kernels that lie here: NCCL's and vLLM's all-reduces over NVLink 4, vLLM's
attention on Hopper. Rows as aiconfigurator's wheel has them (hardware/calibration/README.md)."""

from kvsim.cost.calibration import Hot
from kvsim.validate.ownplans import CHIPS
from kvsim.validate.plan import Origin, Plan

ORIGIN = Origin("aiconfigurator 0.12.0 (PyPI)", "Apache-2.0")
LINK, FITTED_ON = "nvlink4", "NVIDIA H100 80GB HBM3"  # H200s are joined by the same links; their rows are held out
NCCL, CUSTOM, ATTENTION = "NCCL 2.27 to 2.29", "custom all-reduce of vLLM 0.24", "FlashAttention-3 of vLLM 0.24"
RUNS = {NCCL: "NCCL 2.27|NCCL 2.29"}
SUMS = {"switch_start_s": 5e-5, "switch_share": 0.6, "pair_share": 0.7}
REUSED = Hot(copies=1, l2_share=0.9)


def _all_reduce(kernel: str, form: str = "", start: dict[str, float] | None = None) -> Plan:
    where = {"kernel": RUNS.get(kernel, kernel), "device": FITTED_ON}
    return Plan(
        LINK, "all_reduce", "bf16", kernel, ("all_reduce.csv",), ORIGIN, where=where, form=form, start=start or {}
    )


def _attention(chip: str, op: str, form: str, benchmark: Hot | None) -> Plan:
    where = {"kernel": ATTENTION}
    return Plan(
        chip, op, "bf16", ATTENTION, (f"vllm_{op}.csv.gz",), ORIGIN, benchmark=benchmark, where=where, form=form
    )


VLLM = (
    _all_reduce(NCCL, start=SUMS),
    _all_reduce(CUSTOM, "custom_all_reduce"),
    *(_attention(chip, "attention_decode", "balanced_decode", REUSED) for chip in CHIPS),
    *(_attention(chip, "attention_prefill", "packed_tiles", None) for chip in CHIPS),
)
