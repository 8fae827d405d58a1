"""What reports call a run's figures: one name each, whatever the report is made of."""


class Names(dict[str, str]):
    """What lanes and tiers are called; those of a tier that a user named are called by its own name."""

    def __missing__(self, lane: str) -> str:
        return lane.replace("_", " ") + "s" * lane.endswith(("_read", "_write"))


PERCENTILES = ("mean", "p50", "p90", "p95", "p99")
LATENCIES = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "e2e_s": "end to end",
    "queue_s": "of it in the queue",
}
TIERS = Names({
    "hbm": "HBM", "dram": "host DRAM", "flash": "flash", "cxl": "CXL memory", "remote": "remote",
})  # fmt: skip
LANES = Names({
    "gpu": "GPU", "h2d": "host to GPU", "d2h": "GPU to host", "cpu": "host CPU", "nvlink": "between chips",
    "nvme_read": "flash reads", "nvme_write": "flash writes", "csd": "in storage", "cxl": "CXL memory",
    "nic": "network", "codec": "codec",
})  # fmt: skip
GPU_TIME = {
    "weights": "weights", "cache": "reading the cache", "arithmetic": "arithmetic", "dequantizing": "dequantizing",
    "passes": "element-wise passes", "latency": "kernel latencies", "collectives": "all-reduces",
}  # fmt: skip
