"""What is fitted to kvsim's own measurements, `hardware/calibration/<chip>/*.csv`: the first kernel of a class is the
one that a run is priced by."""

from typing import Any

from kvsim.validate.plan import Origin, Plan

CHIPS = {"h100-sxm": "H100", "h200-sxm": "H200"}
HOSTS = {"h100-sxm": "dgx-h100", "h200-sxm": "dgx-h200"}  # of the systems that have these chips
LANES = ("h2d", "d2h")
LATEST = "h200-sxm"  # of which unlike batches were measured; it lends them
AGAIN = {("h200-sxm", "gemm"): ("gemm_again.csv",)}  # on another board, and at shapes between
TINY_KERNEL_S = 1.13e-6  # one that adds to 4 kB, in a graph: both chips' launches.csv
# The largest copy that is not shared out: from an H100, 16 to 131 kB go at 48 GB/s, 131 to 185 kB take 0.6 us more.
ONE_ENGINE_BYTES = 131072.0
PAGED_SHARE = 0.94  # of HBM bandwidth, that the paged kernel reaches on both chips; MLA's is never bound by it
POLICY_KERNELS: tuple[tuple[Any, ...], ...] = (
    ("column_sums", "bf16", "kernels_ref column sums", "scorer_h2o|scorer_snapkv|scorer_tova"),
    ("packed_decode", "int2", "kernels_ref KIVI decode", "kivi2"),
    ("packed_decode", "int4", "kernels_ref KIVI decode", "kivi4"),
    ("pack", "bf16", "kernels_ref quantize-and-pack", "quantize_pack", {"dtype": "int2|int4"}),
    ("compaction", "bf16", "kernels_ref compaction", "compact"),
    ("gathered_decode", "bf16", "kernels_ref decode, gathered", "gathered"),
    ("mla_decode", "bf16", "kernels_ref MLA decode", "mla", {}, {"memory_share": PAGED_SHARE}),
    ("lowrank_decode", "bf16", "kernels_ref low-rank decode", "lowrank"),
    ("shared_prefix_decode", "bf16", "kernels_ref shared prefix, cuDNN", "shared_prefix"),
)
DECODE, VARLEN = "kernels_ref decode", "FlashAttention-2 varlen"
# Where START's own would end in a worse optimum, of the rows that the fit sees.
STARTS = {
    ("h200-sxm", "attention_decode", "fp8", DECODE): {
        "launch_s": 3e-6, "cta_s": 3e-6, "small_block_s": 1e-6, "load_bytes_per_clock": 14.0,
    },
}  # fmt: skip


def plans(chip: str) -> list[Plan]:
    """A chip's curves."""
    origin = Origin(f"kvsim calibrate on an {CHIPS[chip]}", "Apache-2.0")

    def plan(op: str, dtype: str, kernel: str, form: str = "") -> Plan:
        where, start = {"kernel": kernel}, STARTS.get((chip, op, dtype, kernel), {})
        tables = (f"{op}.csv", *AGAIN.get((chip, op), ()))
        return Plan(chip, op, dtype, kernel, tables, origin, start=start, where=where, form=form)

    def policy(op: str, dtype: str, kernel: str, measured: str, more: Any = (), given: Any = ()) -> Plan:
        """A policy's kernel, which policies.csv calls `measured`."""
        return Plan(
            chip, op, dtype, kernel, ("policies.csv",), origin, dict(given), where={"kernel": measured, **dict(more)}
        )

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
        *(policy(op, dtype, *named) for op, dtype, *named in POLICY_KERNELS),
    ]


def copies(link: str) -> list[Plan]:
    """Copies over a host link, pinned ones first. What the processor and its root of the bus do belongs to a host; the
    pace of pieces to the driver: of all hosts together."""
    every = Origin(f"kvsim calibrate on the hosts of an {' and an '.join(CHIPS.values())}", "Apache-2.0")
    tables = tuple(f"{chip}/copies.csv" for chip in CHIPS)
    cached = {"cached_bytes": 2e7, "uncached_share": 0.12, "link_share": 0.2, "start_s": 1.8e-5}
    staged = {"stage_bytes": 1e6, "stage_share": 0.3, "link_share": 0.2, "start_s": 1.8e-5}
    found = []
    for chip, host in HOSTS.items():
        origin = Origin(f"kvsim calibrate on the host of an {CHIPS[chip]}", "Apache-2.0")
        for kernel, memory in (("cudaMemcpyAsync, pinned", "pinned"), ("cudaMemcpy, pageable", "pageable")):
            for lane in LANES:
                start = {"h2d": cached, "d2h": staged}[lane] if memory == "pageable" else {"single_share": 0.8}
                given = {"single_bytes": ONE_ENGINE_BYTES} if memory == "pinned" else {}
                where = {"memory": memory, "pattern": "contiguous", "beside": ""}
                table = (f"{chip}/copies.csv",)
                found.append(Plan(link, "copy", lane, kernel, table, origin, given, start, where=where, host=host))
    known: dict[tuple[str, str], dict[str, float | int | bool]] = {
        ("pages", "h2d"): {"in_turn": True},
        ("pages", "d2h"): {"in_turn": True},
        ("gather", "d2h"): {"posted": True, "start_s": TINY_KERNEL_S},
    }
    kinds = (
        ("cudaMemcpyAsync a piece, pinned", "pinned", "pages", 2e-6),
        ("cudaMemcpy2DAsync, pinned", "pinned", "rows", 1e-9),
        ("a kernel over mapped memory", "mapped", "gather", 1e-9),
    )
    return found + [
        Plan(
            link, "copy", lane, kernel, tables, every, given=known.get((pattern, lane), {}), start={"piece_s": piece_s},
            where={"memory": memory, "pattern": pattern, "beside": ""},
        )
        for kernel, memory, pattern, piece_s in kinds
        for lane in LANES
    ]  # fmt: skip


OWN = (*(one for chip in CHIPS for one in plans(chip)), *copies("pcie5-x16"))
