"""Experiment: in what order, with which suffix CTAs, in how many pieces. `python -m kernels_ref.try_prefix`."""

import itertools
import time
from functools import partial

import torch

from kernels_ref import prefix as module
from kernels_ref import timing
from kernels_ref.bench_attention import full, random, table_of
from kernels_ref.configs import Config
from kernels_ref.merge import merge
from kernels_ref.prefix import decode_shared, in_one_piece, in_pages
from kernels_ref.reference import error

HEADS, GROUP, DIM, PAGE = 8, 4, 128, 16
SUFFIX = [Config(64, 4, 2, 4), Config(32, 2, 2, 8), Config(32, 4, 2, 8)]
BEGAN = time.monotonic()
original = module.beside


def serial(device, first, second):
    result = first()
    second()
    return result


def suffix_first(device, first, second):
    here, other = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    other.wait_stream(here)
    with torch.cuda.stream(other):
        second()
    result = first()
    here.wait_stream(other)
    return result


def prioritised(device, first, second):
    here, other = torch.cuda.current_stream(device), torch.cuda.Stream(device, priority=-1)
    other.wait_stream(here)
    with torch.cuda.stream(other):
        result = first()
    second()
    here.wait_stream(other)
    return result


ORDERS = {"prefix first": original, "priority": prioritised, "suffix first": suffix_first, "serial": serial}


def us(launch, sets: int) -> float:
    return timing.seconds(launch, sets, repeats=7, target_s=1e-3).seconds * 1e6


def main() -> None:
    copy, peak = timing.copy_bandwidth().seconds, timing.flop_peak().seconds
    print(f"{torch.cuda.get_device_name()}: copy {copy / 1e9:.0f} GB/s, product {peak / 1e12:.0f} TFLOP/s")
    for heads, n in itertools.product((512, 2048, 8192), (1, 3, 17)):
        parts = torch.randn(heads * n, 4, DIM, device="cuda")[: heads * n // 4]
        lse = torch.randn(heads * n // 4, 4, device="cuda")
        out = torch.empty(heads, DIM, device="cuda", dtype=torch.bfloat16)
        print(f"merge of {heads} heads, {n} splits: {us(lambda i: merge(parts, lse, out, splits=n), 2):.2f} us")  # noqa: B023
    shapes = [(8, 32768, 16), (16, 8192, 128), (16, 32768, 128), (16, 131072, 128), (32, 32768, 128)]
    shapes += [(64, 8192, 128), (64, 32768, 128), (256, 8192, 128), (256, 32768, 16)]
    for batch, prefix, suffix in shapes:
        moved = 2 * (prefix + batch * suffix) * HEADS * DIM * 2 + 4 * batch * HEADS * GROUP * DIM
        flops = 4 * batch * HEADS * GROUP * (prefix + suffix) * DIM
        limit = max(moved / copy, flops / peak) * 1e6
        sets = timing.sets_beyond_l2(moved)
        q = random(batch, HEADS * GROUP, DIM)
        pieces = [[random(HEADS, prefix, DIM) for _ in "kv"] for _ in range(sets)]
        own = [
            (*(random(batch * suffix // PAGE, HEADS, PAGE, DIM) for _ in "kv"), table_of(batch, suffix // PAGE))
            for _ in range(sets)
        ]
        n, order = full(suffix, batch), table_of(prefix // PAGE)
        forms = {
            "piece": [in_one_piece(*p) for p in pieces],
            "pages": [in_pages(*(x.view(-1, HEADS, PAGE, DIM) for x in p), order, full(prefix, 1)) for p in pieces],
        }
        print(
            f"== {batch} x {prefix} + {suffix}: limit {limit:.1f} us, at {time.monotonic() - BEGAN:.0f} s", flush=True
        )

        def go(i, form, config, cut, tile=None):
            return decode_shared(q, forms[form][i], *own[i], n, config=config, pieces=cut, prefix_config=tile)  # noqa: B023

        want = []
        for b, h in ((1, 3), (batch - 1, 7)):
            k, v = (
                torch.cat([x[h], o[own[0][2][b].long(), h].flatten(0, 1)]).double()
                for x, o in zip(pieces[0], own[0], strict=False)
            )
            rows = q[b, h * GROUP : (h + 1) * GROUP].double()
            want.append((b, h, (rows @ k.T * DIM**-0.5).softmax(-1) @ v))
        runs = []
        for cut in (0,) if batch < 32 else (0, 8, 16) if batch < 256 else (1, 2, 4):
            for name in ORDERS if cut or batch < 64 else ("prefix first", "priority"):
                runs += [("piece", cut, name, c, None) for c in (SUFFIX if batch < 256 or suffix == 16 else SUFFIX[:1])]
        runs += [("piece", None, "prefix first", None, None), ("pages", None, "prefix first", None, None)]
        if batch <= 16:
            runs += [
                ("piece", 0, "prefix first", None, Config(*t))
                for t in ((64, 4, 2, 2, 64), (64, 4, 3, 1, 64, 200), (64, 4, 4, 1, 64), (32, 4, 4, 1, 64))
            ]
        for form, cut, name, config, tile in runs:
            if time.monotonic() - BEGAN > 80:
                print("out of time")
                return
            module.beside = ORDERS[name]
            label = (
                f"{form} pieces={cut} {name} "
                + (f"{config.block_n}w{config.warps}" if config else "default")
                + (f" tile {tile}" if tile else "")
            )
            try:
                out = go(0, form, config, cut, tile)
                wrong = 0.0
                if form == "piece":
                    wrong = max(error(out[b, h * GROUP : (h + 1) * GROUP], w) for b, h, w in want)
                t = us(partial(go, form=form, config=config, cut=cut, tile=tile), sets)
                print(f"{label}: {t:.1f} us {limit / t:.3f} error {wrong:.1e}", flush=True)
            except Exception as failure:
                torch.cuda.synchronize()
                print(f"{label}: {type(failure).__name__}: {str(failure)[:120]}", flush=True)
        forms.clear()
        own.clear()
        pieces.clear()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
