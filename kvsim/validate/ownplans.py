"""What is fitted to kvsim's own measurements, `hardware/calibration/<chip>/*.csv`: the first kernel of a class is the
one that a run is priced by."""

from kvsim.validate.plan import Origin, Plan

CHIPS = {"h100-sxm": "H100", "h200-sxm": "H200"}
DECODE, VARLEN = "kernels_ref decode", "FlashAttention-2 varlen"


def plans(chip: str) -> list[Plan]:
    """A chip's curves."""
    origin = Origin(f"kvsim calibrate on an {CHIPS[chip]}", "Apache-2.0")

    def plan(op: str, dtype: str, kernel: str, form: str = "") -> Plan:
        where = {"kernel": kernel}
        return Plan(chip, op, dtype, kernel, (f"{op}.csv",), origin, where=where, form=form)

    return [
        plan("gemm", "bf16", "torch.mm"),
        plan("gemm", "fp8", "torch._scaled_mm fast accum"),
        plan("attention_decode", "bf16", DECODE, "paged_decode"),
        plan("attention_decode", "fp8", DECODE, "paged_decode"),
        plan("attention_decode", "bf16", "SDPA FlashAttention-2"),
        plan("attention_decode", "bf16", "SDPA cuDNN"),
        plan("attention_prefill", "bf16", VARLEN),
        plan("attention_prefill", "bf16", "SDPA FlashAttention-2"),
        plan("attention_prefill", "bf16", "SDPA cuDNN"),
    ]
