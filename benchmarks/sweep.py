"""A sweep of 200 points, killed -9 five times at random moments and resumed, against one that nobody touched.

    python benchmarks/sweep.py [seed]

Where Ray is installed, the same study runs on a local cluster of two CPUs as well. All results must be the same bytes.
"""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KILLS = 5
STUDY = {
    "name": "grid",
    "base": {"trace": "quickstart", "limit": 150, "replicas": 1},
    "axes": {
        "policy": ["full", "kivi", "snapkv", "headinfer", "fp8"],
        "hw": ["h100", "a100-80", "l40s", "rtx4090"],
        "set.max_num_seqs": [16, 256],
    },
    "repeat": 5,
}


def start(folder: Path, out: str, *words: str) -> "subprocess.Popen[bytes]":
    """`kvsim sweep` on the study in `folder`, in a process of its own."""
    command = [sys.executable, "-m", "kvsim", "sweep", "grid.yaml", "--out", out, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def whole(folder: Path, out: str, *words: str) -> float:
    """Run to the end; seconds."""
    begun = time.perf_counter()
    process = start(folder, out, *words)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    return time.perf_counter() - begun


def workers() -> list[str]:
    """Worker processes that are alive on this machine."""
    lines = subprocess.run(["ps", "-eo", "pid,stat,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if "kvsim.study.worker" in line]


def killed(folder: Path, out: str, seconds: float, chance: random.Random) -> int:
    """Run in pieces, each killed at a random moment, then to the end; how many kills hit a running sweep."""
    hits = 0
    for _ in range(KILLS):
        process = start(folder, out, "--resume")
        time.sleep(chance.uniform(0.2, 1.6 * seconds / KILLS))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        hits += process.returncode == -signal.SIGKILL
    return hits


def same(folder: Path, left: str, right: str) -> bool:
    """Whether both folders hold the same results, byte for byte."""
    names = ("results.csv", "results.parquet", "results.json")
    return all((folder / left / name).read_bytes() == (folder / right / name).read_bytes() for name in names)


def main() -> None:
    """Run all of it and print what came out."""
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        (folder / "grid.yaml").write_text(json.dumps(STUDY))
        seconds = whole(folder, "whole")
        points = json.loads((folder / "whole" / "results.json").read_text())["points"]
        print(f"{len(points)} points uninterrupted: {seconds:.1f} s on {len(os.sched_getaffinity(0))} CPUs")
        others = set(workers())
        hits = killed(folder, "pieces", seconds, random.Random(seed))
        whole(folder, "pieces", "--resume")
        time.sleep(0.5)
        print(f"killed -9 {hits} times and resumed: results {_verdict(same(folder, 'whole', 'pieces'))}")
        print(f"workers left behind: {len(set(workers()) - others)}")
        assert hits and same(folder, "whole", "pieces") and not set(workers()) - others
        if importlib.util.find_spec("ray") is None:
            print("Ray is not installed")
            return
        seconds = whole(folder, "ray", "--engine", "ray", "--workers", "2")
        print(f"on Ray with two workers: {seconds:.1f} s, results {_verdict(same(folder, 'whole', 'ray'))}")
        assert same(folder, "whole", "ray")


def _verdict(alike: bool) -> str:
    return "byte-identical" if alike else "DIFFER"


if __name__ == "__main__":
    main()
