"""`python -m kernels_ref.quality`: every policy at equal bytes on every text, into kernels_ref/results/quality.csv.

    python -m kernels_ref.quality                                      what is missing there, on this machine's CPU
    python -m kernels_ref.quality --device cuda --shard 1/2            every other row, into quality.1-of-2.csv
    python -m kernels_ref.quality --gather                             the shards' rows, and what was there, in one file
    python -m kernels_ref.quality --only snapkv,kivi --out mine.csv    some policies

Rows that are there are kept: an interrupted run goes on where it stopped.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path

import torch

from kernels_ref.quality import plan, table
from kernels_ref.quality.start import ALL_TEXTS, Bench, checked
from kernels_ref.quality.texts import NEW_TOKENS, PROMPT_TOKENS
from kvsim.errors import UserError

OUT = Path(__file__).parents[1] / "results" / "quality.csv"


def main() -> int:
    """0 when every row is there, 1 when some could not be measured, 2 on a user's mistake."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--model", type=Path, help="folder of another model")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU; start a shard a core instead")
    parser.add_argument("--only", help="policies, separated by commas")
    parser.add_argument("--texts", default=",".join(ALL_TEXTS))
    parser.add_argument("--shard", default="1/1", help="i/n: every n-th row")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no row after so many")
    parser.add_argument("--gather", action="store_true", help="join the shards' files into --out")
    options = parser.parse_args()
    try:
        return _gathered(options.out) if options.gather else _measured(options)
    except (UserError, ValueError) as mistake:
        print(mistake, file=sys.stderr)
        return 2


def _gathered(out: Path) -> int:
    paths = [path for path in (out, *_shards(out)) if path.is_file()]
    print(f"{table.gather(paths, out):,} rows in {out.name}")
    return 0


def _shards(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f"{out.stem}.*-of-*{out.suffix}"))


def _measured(options: argparse.Namespace) -> int:
    number, many = (int(part) for part in options.shard.split("/"))
    torch.set_num_threads(options.threads)
    began = time.monotonic()
    bench = Bench(
        options.texts.split(","),
        options.model,
        checked(options.device),
        PROMPT_TOKENS,
        NEW_TOKENS,
        one_at_a_time=True,
    )
    names = options.only.split(",") if options.only else plan.policies()
    rows = list(plan.rows(bench, names, options.texts.split(",")))[number - 1 :: many]
    path = options.out if many == 1 else options.out.with_name(f"{options.out.stem}.{number}-of-{many}.csv")
    done = table.Table(path, [options.out, *_shards(options.out)])
    where, failed, left = table.origin(bench.language.model.name, options.device), dict[str, str](), 0
    for index, (policy, budget, text) in enumerate(rows, 1):
        if table.key(policy, budget, text) in done.done:
            continue
        if time.monotonic() - began > options.seconds:
            left += 1
            continue
        at, what = time.monotonic(), f"{policy} {'as published' if budget is None else budget} {text}"
        try:
            done.add(bench.row(policy, budget, text), where)
        except UserError as refused:
            failed[what] = str(refused)
        except Exception:  # one policy's defect must not cost the others their rows
            failed[what] = traceback.format_exc()
        print(f"{index}/{len(rows)} {what}: {time.monotonic() - at:.1f} s", file=sys.stderr, flush=True)
    for what, why in failed.items():
        print(f"{what}: {why}", file=sys.stderr)
    print(f"{len(rows) - len(failed) - left:,} of {len(rows):,} rows are in {path.name}; {len(failed)} failed")
    return 1 if failed or left else 0


if __name__ == "__main__":
    sys.exit(main())
