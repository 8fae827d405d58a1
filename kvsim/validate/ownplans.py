"""What is fitted to kvsim's own measurements, `hardware/calibration/<chip>/*.csv`: the first kernel of a class is the
one that a run is priced by."""

from kvsim.validate.plan import Origin, Plan

CHIPS = {"h100-sxm": "H100", "h200-sxm": "H200"}
LATEST = "h200-sxm"  # of which unlike batches and the policies' kernels as they are were measured; it lends them
AGAIN = {(LATEST, "gemm"): ("gemm_again.csv",)}  # on another board, and at shapes between
SCORERS = "scorer_h2o|scorer_snapkv|scorer_tova"
TINY_KERNEL_S = 1.13e-6  # one that adds to 4 kB, in a graph: both chips' launches.csv
DECODE, VARLEN = "kernels_ref decode", "FlashAttention-2 varlen"


def plans(chip: str) -> list[Plan]:
    """A chip's curves."""
    origin = Origin(f"kvsim calibrate on an {CHIPS[chip]}", "Apache-2.0")

    def plan(op: str, dtype: str, kernel: str, form: str = "") -> Plan:
        where = {"kernel": kernel}
        tables = (f"{op}.csv", *AGAIN.get((chip, op), ()))
        return Plan(chip, op, dtype, kernel, tables, origin, where=where, form=form)

    def latest(op: str, kernel: str, table: str, measured: str) -> Plan:
        on = "" if chip == LATEST else LATEST
        source = Origin(f"kvsim calibrate on an {CHIPS[LATEST]}", "Apache-2.0")
        return Plan(chip, op, "bf16", kernel, (table,), source, where={"kernel": measured}, measured_on=on)

    return [
        plan("gemm", "bf16", "torch.mm", "tile_gemm"),
        plan("gemm", "fp8", "torch._scaled_mm fast accum", "tile_gemm"),
        plan("grouped_gemm", "bf16", "torch._grouped_mm"),
        plan("attention_decode", "bf16", DECODE, "paged_decode"),
        plan("attention_decode", "fp8", DECODE, "paged_decode"),
        plan("attention_decode", "bf16", "SDPA cuDNN"),
        plan("attention_prefill", "bf16", VARLEN, "paired_tiles"),
        plan("attention_prefill", "bf16", "SDPA cuDNN", "query_tiles"),
        latest("ragged_decode", DECODE, "ragged_decode.csv", DECODE),
        latest("column_sums", "kernels_ref column sums", "policies.csv", SCORERS),
    ]


def copies(link: str) -> list[Plan]:
    """Copies over a host link, by all chips that were measured on such a one; pinned ones first."""
    origin = Origin(f"kvsim calibrate on an {' and an '.join(CHIPS.values())}", "Apache-2.0")
    tables = tuple(f"{chip}/copies.csv" for chip in CHIPS)
    cached = {"cached_bytes": 3.5e7, "uncached_share": 0.12, "link_share": 0.2, "start_s": 1.8e-5}
    staged = {"stage_bytes": 1e6, "stage_share": 0.3, "link_share": 0.2, "start_s": 1.8e-5}
    kinds: tuple[tuple[str, str, str, dict[str, float]], ...] = (
        ("cudaMemcpyAsync, pinned", "pinned", "contiguous", {}),
        ("cudaMemcpy, pageable", "pageable", "contiguous", cached),
        ("cudaMemcpyAsync a piece, pinned", "pinned", "pages", {"piece_s": 2e-6}),
        ("cudaMemcpy2DAsync, pinned", "pinned", "rows", {"piece_s": 1e-9}),
        ("a kernel over mapped memory", "mapped", "gather", {"piece_s": 1e-9}),
    )
    known: dict[tuple[str, str], dict[str, float | int | bool]] = {
        ("pages", "h2d"): {"in_turn": True},
        ("pages", "d2h"): {"in_turn": True},
        ("gather", "d2h"): {"posted": True, "start_s": TINY_KERNEL_S},
    }
    return [
        Plan(
            link, "copy", lane, kernel, tables, origin, given=known.get((pattern, lane), {}),
            start=staged if (memory, lane) == ("pageable", "d2h") else start,
            where={"memory": memory, "pattern": pattern, "beside": ""},
        )
        for kernel, memory, pattern, start in kinds
        for lane in ("h2d", "d2h")
    ]  # fmt: skip


OWN = (*(one for chip in CHIPS for one in plans(chip)), *copies("pcie5-x16"))
