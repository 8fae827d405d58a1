"""Experiment: which way to attend to a shared prefix is fastest. `python -m kernels_ref.try_prefix [--seconds 55]`."""

import argparse
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch

from kernels_ref import decode as decode_module
from kernels_ref import prefix as prefix_module
from kernels_ref import timing
from kernels_ref.bench_attention import dense, full, random, table_of
from kernels_ref.configs import Config
from kernels_ref.decode import launch, multiprocessors, per_head
from kernels_ref.merge import Pieces, merge
from kernels_ref.prefix import decode_shared, launch_prefix
from kernels_ref.reference import error
from kernels_ref.splits import Split, ceil_div, choose

HEADS, GROUP, DIM, PAGE = 8, 4, 128, 16
TALL = [
    Config(64, 8, 3, 1, 128),
    Config(64, 8, 4, 1, 128),
    Config(32, 8, 4, 1, 128),
    Config(32, 8, 3, 2, 128, 128),
    Config(64, 4, 3, 1, 64),
    Config(64, 4, 2, 2, 64),
    Config(32, 4, 4, 2, 64),
    Config(128, 4, 2, 1, 64),
]
NARROW = [
    Config(64, 4, 3, 1, 64),
    Config(64, 4, 4, 1, 64),
    Config(64, 4, 2, 2, 64),
    Config(32, 4, 4, 2, 64),
    Config(32, 4, 3, 3, 64),
    Config(128, 4, 2, 1, 64),
    Config(64, 8, 4, 1, 64),
    Config(128, 8, 2, 1, 64),
]
SUFFIX = [Config(128, 8, 3, 1), Config(64, 4, 2, 4), Config(32, 2, 2, 8), Config(32, 4, 2, 8)]
BEGAN = time.monotonic()


def us(launch_: Callable[[int], object], sets: int) -> float:
    return timing.seconds(launch_, sets, repeats=5, target_s=1e-3).seconds * 1e6


class Shape:
    """Random data of one shape: a contiguous prefix [heads, prefix, dim], viewed as pages too, and paged suffixes."""

    def __init__(self, batch: int, prefix: int, suffix: int) -> None:
        self.batch, self.prefix, self.suffix = batch, prefix, suffix
        self.bytes = 2 * (prefix + batch * suffix) * HEADS * DIM * 2 + 2 * batch * HEADS * GROUP * DIM * 2
        self.flops = 4 * batch * HEADS * GROUP * (prefix + suffix) * DIM
        self.sets = timing.sets_beyond_l2(self.bytes)
        self.q = random(batch, HEADS * GROUP, DIM)
        self.tall = self.q.view(batch, HEADS, GROUP, DIM).transpose(0, 1).reshape(HEADS, batch * GROUP, DIM)
        self.k, self.v = ([random(HEADS, prefix, DIM) for _ in range(self.sets)] for _ in "kv")
        pages = batch * suffix // PAGE
        self.own = [[random(pages, HEADS, PAGE, DIM) for _ in "kv"] for _ in range(self.sets)]
        self.own_table = table_of(batch, suffix // PAGE)
        self.lengths = full(suffix, batch)
        # the same prefix as pages of one head each, at random places of the table's order
        self.entries = prefix // PAGE
        self.table = torch.arange(HEADS * self.entries, device="cuda").view(HEADS, -1).int()
        self.tokens = full(prefix, 1)

    def limit_us(self, copy: float, peak: float) -> float:
        return max(self.bytes / copy, self.flops / peak) * 1e6

    def expected(self) -> tuple[torch.Tensor, torch.Tensor]:
        """float64 output and log-sum-exp of the prefix part of 32 rows of head 3, set 0."""
        scores = self.tall[3, :32].double() @ self.k[0][3].double().T * DIM**-0.5
        return scores.softmax(-1) @ self.v[0][3].double(), scores.logsumexp(-1)


def library(s: Shape, name: str, n: int, i: int, tall: bool) -> Pieces:
    """The prefix part through PyTorch's kernels, cut into n pieces in the batch dimension."""
    k, v = (x[i].view(HEADS, n, s.prefix // n, DIM).transpose(0, 1) for x in (s.k, s.v))
    if tall:
        q = s.q.view(s.batch, HEADS, GROUP, DIM).transpose(0, 1).reshape(HEADS, s.batch * GROUP, DIM)
    else:
        q = s.q.transpose(0, 1)  # [heads, sequences, dim]
    q = q[None].expand(n, -1, -1, -1)
    if name == "cudnn":
        out, lse = torch.ops.aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)[:2]
    else:
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v)[:2]
    lse = lse.reshape(n, q.shape[1], q.shape[2])
    if tall:
        return Pieces(
            out.unflatten(2, (s.batch, GROUP)).permute(0, 2, 1, 3, 4),
            lse.unflatten(2, (s.batch, GROUP)).permute(0, 2, 1, 3),
        )
    return Pieces(
        out.unflatten(1, (HEADS, GROUP)).permute(0, 3, 1, 2, 4), lse.unflatten(1, (HEADS, GROUP)).permute(0, 3, 1, 2)
    )


def check_pieces(s: Shape, pieces: Pieces) -> float:
    out, lse = s.expected()
    mine = pieces.lse[:, :, 3].flatten(1, 2)[:, :32].double()
    weight = mine.softmax(0)
    got = (pieces.out[:, :, 3].flatten(1, 2)[:, :32].double() * weight[..., None]).sum(0)
    return max(error(got, out), float((mine.logsumexp(0) - lse).abs().max()))


def triton_prefix(s: Shape, config: Config, i: int, splits: int = 0, follows: bool = False, part: int = 0):
    """The prefix part by the kernel of this package; returns partial and lse."""
    blocks = ceil_div(s.batch * GROUP, config.block_m)
    split = choose(HEADS * blocks, s.prefix, config.block_n, multiprocessors(s.q.device), config.ctas_per_sm)
    if splits:
        each = ceil_div(ceil_div(s.prefix, config.block_n), splits) * config.block_n
        split = Split(ceil_div(s.prefix, each), each)
    total = split.splits + part
    partial = torch.empty(s.batch * HEADS * total, GROUP, DIM, device="cuda")
    lse = torch.empty(s.batch * HEADS * total, GROUP, device="cuda")
    k, v = (x[i].view(-1, 1, PAGE, DIM) for x in (s.k, s.v))
    launch_prefix(s.q, k, v, s.table, s.tokens, partial, lse, config, split, part_splits=total, follows=follows)
    return partial, lse, split.splits


def suffixes(s: Shape, config: Config, i: int, partial: torch.Tensor, lse: torch.Tensor, total: int, first: int) -> int:
    after = choose(s.batch * HEADS, s.suffix, config.block_n, multiprocessors(s.q.device), config.ctas_per_sm)
    launch(
        s.q,
        *s.own[i],
        per_head(s.own_table, HEADS, 3),
        per_head(s.lengths, HEADS, 2),
        partial,
        lse,
        config,
        after,
        grain=PAGE,
        part_splits=total,
        part_first=first,
    )
    return after.splits


def whole(s: Shape, prefix: Callable[[int], Pieces], config: Config, order: str, i: int) -> torch.Tensor:
    """Prefix by a library, suffixes by ours, one merge. `order`: 'first', 'last' (one stream), 'beside'."""
    after = choose(s.batch * HEADS, s.suffix, config.block_n, multiprocessors(s.q.device), config.ctas_per_sm).splits
    partial = torch.empty(s.batch * HEADS * after, GROUP, DIM, device="cuda")
    lse = torch.empty(s.batch * HEADS * after, GROUP, device="cuda")
    out = torch.empty_like(s.q)
    if order == "first":
        suffixes(s, config, i, partial, lse, after, 0)
        pieces = prefix(i)
    elif order == "last":
        pieces = prefix(i)
        suffixes(s, config, i, partial, lse, after, 0)
    else:
        here, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(here)
        with torch.cuda.stream(other):
            suffixes(s, config, i, partial, lse, after, 0)
        pieces = prefix(i)
        here.wait_stream(other)
    return merge(partial, lse, out, splits=after, pieces=pieces, follows=order == "last")


def check_whole(s: Shape, out: torch.Tensor) -> float:
    """Rows of sequence 1, kv head 3, set 0, against float64."""
    worst = 0.0
    for b, h in ((1, 3), (s.batch - 1, 7)):
        listed = s.own_table[b].long()
        k, v = (torch.cat([x[0][h], own[listed, h].flatten(0, 1)]).double() for x, own in zip((s.k, s.v), s.own[0]))
        q = s.q[b, h * GROUP : (h + 1) * GROUP].double()
        want = (q @ k.T * DIM**-0.5).softmax(-1) @ v
        worst = max(worst, error(out[b, h * GROUP : (h + 1) * GROUP], want))
    return worst


def whole_triton(s: Shape, config: Config, own: Config, order: str, i: int, splits: int = 0) -> torch.Tensor:
    blocks = ceil_div(s.batch * GROUP, config.block_m)
    sms = multiprocessors(s.q.device)
    before = choose(HEADS * blocks, s.prefix, config.block_n, sms, config.ctas_per_sm)
    if splits:
        each = ceil_div(ceil_div(s.prefix, config.block_n), splits) * config.block_n
        before = Split(ceil_div(s.prefix, each), each)
    after = choose(s.batch * HEADS, s.suffix, own.block_n, sms, own.ctas_per_sm)
    total = before.splits + after.splits
    partial = torch.empty(s.batch * HEADS * total, GROUP, DIM, device="cuda")
    lse = torch.empty(s.batch * HEADS * total, GROUP, device="cuda")
    out = torch.empty_like(s.q)
    k, v = (x[i].view(-1, 1, PAGE, DIM) for x in (s.k, s.v))

    def prefix(follows: bool) -> None:
        launch_prefix(s.q, k, v, s.table, s.tokens, partial, lse, config, before, part_splits=total, follows=follows)

    if order == "chain":
        suffixes(s, own, i, partial, lse, total, before.splits)
        prefix(True)
    elif order == "beside":
        here, other = torch.cuda.current_stream(), torch.cuda.Stream()
        other.wait_stream(here)
        with torch.cuda.stream(other):
            suffixes(s, own, i, partial, lse, total, before.splits)
        prefix(False)
        here.wait_stream(other)
    else:
        suffixes(s, own, i, partial, lse, total, before.splits)
        prefix(False)
    return merge(partial, lse, out, splits=total, follows=order in ("chain", "serial+pdl"))


def name(c: Config) -> str:
    return f"{c.block_m}x{c.block_n}w{c.warps}s{c.stages}c{c.ctas_per_sm}" + (f"r{c.registers}" if c.registers else "")


def compile_one(task: tuple[str, Config]) -> str:
    kind, config = task
    try:
        s = Shape(16, 256, 128)
        if kind == "prefix":
            triton_prefix(s, config, 0, follows=False)
            triton_prefix(s, config, 0, follows=True)
        else:
            decode_shared_suffix(s, config)
        torch.cuda.synchronize()
    except Exception as failure:
        return f"{kind} {name(config)}: {type(failure).__name__}: {failure}"[:160]
    return ""


def decode_shared_suffix(s: Shape, config: Config) -> None:
    partial = torch.empty(s.batch * HEADS * 8, GROUP, DIM, device="cuda")
    lse = torch.empty(s.batch * HEADS * 8, GROUP, device="cuda")
    suffixes(s, config, 0, partial, lse, 8, 0)


def attempt(label: str, run: Callable[[], str]) -> None:
    if time.monotonic() - BEGAN > LIMIT:
        print(f"{label}: left out (time)")
        return
    try:
        print(f"{label}: {run()}", flush=True)
    except Exception as failure:
        torch.cuda.synchronize()
        print(f"{label}: {type(failure).__name__}: {str(failure)[:150]}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=75)
    global LIMIT
    LIMIT = parser.parse_args().seconds
    tasks = [("prefix", c) for c in dict.fromkeys(TALL + NARROW)] + [("suffix", c) for c in SUFFIX]
    with ProcessPoolExecutor(12, get_context("spawn")) as pool:
        for line in pool.map(compile_one, tasks):
            if line:
                print(line)
    print(f"compiled at {time.monotonic() - BEGAN:.0f} s")
    copy, peak = timing.copy_bandwidth().seconds, timing.flop_peak().seconds
    print(f"{torch.cuda.get_device_name()}: copy {copy / 1e9:.0f} GB/s, product {peak / 1e12:.0f} TFLOP/s")

    shapes = [(256, 32768, 16), (16, 32768, 128), (16, 8192, 128), (64, 32768, 128), (256, 8192, 128), (16, 131072, 128)]
    for batch, prefix, suffix in shapes:
        s = Shape(batch, prefix, suffix)
        limit = s.limit_us(copy, peak)
        prefix_limit = max(2 * prefix * HEADS * DIM * 2 / copy, 4 * batch * 32 * prefix * DIM / peak) * 1e6
        print(f"== {batch} x {prefix} + {suffix}: limit {limit:.1f} us (prefix {prefix_limit:.1f}) at {time.monotonic() - BEGAN:.0f} s")
        tall = batch * GROUP > 64
        found: dict[str, float] = {}

        def alone(config: Config, splits: int = 0) -> str:
            partial, lse, n = triton_prefix(s, config, 0, splits)
            rows = partial.view(batch, HEADS, n, GROUP, DIM)[:, 3].transpose(1, 2).reshape(-1, n, DIM)[:32].double()
            lses = (lse.view(batch, HEADS, n, GROUP)[:, 3].transpose(1, 2).reshape(-1, n)[:32]).double() * 0.6931471805599453
            got = (rows * lses.softmax(1)[..., None]).sum(1)
            t = us(lambda i: triton_prefix(s, config, i, splits), s.sets)
            found[f"triton {name(config)} {splits}"] = t
            return f"{t:.1f} us ({prefix_limit / t:.2f}) splits {n} error {error(got, s.expected()[0]):.1e}"

        for config in TALL if tall else NARROW:
            attempt(f"prefix triton {name(config)}", lambda: alone(config))
        if batch >= 64:
            for lib, n, t in [
                *(("cudnn", n, True) for n in ((2, 4, 8, 16) if batch == 256 else (4, 8, 16))),
                ("cudnn", 2, False),
                ("cudnn", 4, False),
                ("flash", 4, True),
            ]:

                def run() -> str:
                    e = check_pieces(s, library(s, lib, n, 0, t))
                    time_ = us(lambda i: library(s, lib, n, i, t), s.sets)
                    found[f"{lib} {n} {t}"] = time_
                    return f"{time_:.1f} us ({prefix_limit / time_:.2f}) error {e:.1e}"

                attempt(f"prefix {lib} pieces={n} {'tall' if t else 'gqa'}", run)
        else:
            for lib, n in (("cudnn", 16), ("flash", 16), ("flash", 1)):
                attempt(
                    f"prefix {lib} pieces={n}",
                    lambda: f"{us(lambda i: library(s, lib, n, i, True), s.sets):.1f} us",
                )
        best_lib = min((k for k in found if not k.startswith("triton")), key=lambda k: found[k], default="")
        best = sorted((c for c in (TALL if tall else NARROW) if f"triton {name(c)} 0" in found), key=lambda c: found[f"triton {name(c)} 0"])[:3]
        for own in SUFFIX:
            after = choose(batch * HEADS, suffix, own.block_n, 132, own.ctas_per_sm).splits
            attempt(
                f"suffix alone {name(own)}",
                lambda: f"{us(lambda i: decode_shared_suffix(s, own), s.sets):.1f} us (splits {after})",
            )
        for n in (1, 4, 17):
            attempt(
                f"merge alone {n}",
                lambda: f"{us(lambda i: merge(torch.empty(batch * HEADS * n, GROUP, DIM, device='cuda').fill_(1.0) if i < 0 else torch.empty(batch * HEADS * n, GROUP, DIM, device='cuda'), torch.empty(batch * HEADS * n, GROUP, device='cuda'), torch.empty_like(s.q), splits=n), s.sets):.1f} us",
            )

        def full_triton(config: Config, own: Config, order: str) -> str:
            e = check_whole(s, whole_triton(s, config, own, order, 0))
            t = us(lambda i: whole_triton(s, config, own, order, i), s.sets)
            return f"{t:.1f} us share {limit / t:.2f} error {e:.1e}"

        for config, own, order in [
            *((c, o, "chain") for c in best[:2] for o in SUFFIX),
            *((best[0], o, order) for o in SUFFIX[:3] for order in ("serial+pdl", "serial", "beside")),
        ] if best else []:
            attempt(f"whole triton {name(config)} + {name(own)} {order}", lambda: full_triton(config, own, order))
        if best_lib:
            lib, n, t = best_lib.split()

            def full_lib(own: Config, order: str) -> str:
                part = lambda i: library(s, lib, int(n), i, t == "True")  # noqa: E731
                e = check_whole(s, whole(s, part, own, order, 0))
                time_ = us(lambda i: whole(s, part, own, order, i), s.sets)
                return f"{time_:.1f} us share {limit / time_:.2f} error {e:.1e}"

            for own, order in itertools.product(SUFFIX[:3], ("first", "last", "beside")):
                attempt(f"whole {best_lib} + {name(own)} {order}", lambda: full_lib(own, order))
        if best:
            partial_best = best[0]
            attempt("whole as dispatched now", lambda: dispatched(s, partial_best))
        del s
        torch.cuda.empty_cache()
    for batch, tokens in ((8, 512), (8, 2048), (8, 8192), (1, 32768)):
        work = dense(batch, HEADS, GROUP, tokens, DIM, "bfloat16")
        for on in (False, True):
            decode_module.PDL = on
            attempt(f"dense {batch} x {tokens} pdl {on}", lambda: f"{us(work.launch, work.sets):.2f} us")


def dispatched(s: Shape, config: Config) -> str:
    """decode_shared itself, prefix and suffixes in one pool of pages in random order."""
    pages = (s.prefix + s.batch * s.suffix) // PAGE
    caches = [(*(random(pages, HEADS, PAGE, DIM) for _ in "kv"), table_of(pages)) for _ in range(s.sets)]

    def go(i: int) -> torch.Tensor:
        k, v, table = caches[i]
        return decode_shared(
            s.q, k, v, table[: s.entries], s.tokens, table[s.entries :].view(s.batch, -1), s.lengths, prefix_config=config
        )

    return f"{us(go, s.sets):.1f} us {name(config)}"


LIMIT = 75.0
if __name__ == "__main__":
    main()
