"""Ten random decisions: every figure that `plan --sensitivity` names flips the answer, and half of the change does not.

python benchmarks/decisions.py [SEED ...]
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "decide"))

from decisions import Question, check

for seed in [int(word) for word in sys.argv[1:]] or range(10):
    with tempfile.TemporaryDirectory() as folder:
        question, begun = Question(seed, Path(folder)), time.perf_counter()
        named = check(question)
        about = f"{' or '.join(question.hw)}, {' or '.join(question.policies)}, {question.slo}, by {question.by}"
        print(f"decision {seed}: {named} changes hold, {time.perf_counter() - begun:.0f} s: {about}", flush=True)
