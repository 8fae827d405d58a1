"""`python -m kernels_ref.quality.profiles [POLICY ...]`: measured profiles, from what policies show on real texts.

For each policy whose cost takes figures from data, the mean over texts of what its twin measured when a prompt was
complete, and their spread, go to `workloads/profiles/<policy>.yaml`, which the cost side reads.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

import kvsim.find as find
from kernels_ref.quality.language import Language, language
from kernels_ref.quality.run import states_of
from kernels_ref.quality.texts import PROMPT_TOKENS, TEXTS, calibration, passage
from kernels_ref.twins.cache import begin
from kernels_ref.twins.states import States
from kvsim.traits.policy import policy
from kvsim.traits.profile import Figure

DIGITS = 4


def measurable() -> list[str]:
    """Policies whose papers name figures."""
    return [name for name in find.paper_names("kv") if find.paper("policy", "kv", name).figures]


def seen(name: str, texts: Sequence[States], trained: States) -> list[dict[str, Figure]]:
    """What a policy shows of each text."""
    return [dict(begin(policy(name), states, calibration=trained).seen) for states in texts]


def pooled(figures: Sequence[Figure], source: str) -> dict[str, object]:
    """Several texts' figures as one: means by value, and the mean over values of their deviation over their mean."""
    values = np.array([figure.values for figure in figures])
    mean = values.mean(0)
    spread = float((values.std(0) / np.maximum(np.abs(mean), 1e-9)).mean())
    found = {"values": [round(float(x), DIGITS) for x in mean], "spread": round(spread, DIGITS), "source": source}
    return found | ({"rows": figures[0].rows} if figures[0].rows > 1 else {})


def measured(name: str, texts: Sequence[States], trained: States, source: str) -> dict[str, object]:
    """A policy's profile, as its file holds it."""
    each = seen(name, texts, trained)
    return {"figures": {figure: pooled([one[figure] for one in each], source) for figure in each[0]}}


@torch.no_grad()
def main() -> int:
    """Writes a file a policy. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m kernels_ref.quality.profiles", description=__doc__.split("\n")[0])
    parser.add_argument("policies", nargs="*", help="default: all that take figures from data")
    parser.add_argument("--out", type=Path, default=find.ROOT / "workloads/profiles")
    parser.add_argument("--tokens", type=int, default=PROMPT_TOKENS)
    arguments = parser.parse_args()
    model: Language = language()
    texts = [states_of(model, passage(model, name, arguments.tokens, 1).prompt) for name in TEXTS]
    trained = states_of(model, calibration(model, arguments.tokens))
    source = f"twins on {model.model.name}, {arguments.tokens} tokens of {', '.join(TEXTS)}"
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.policies or measurable():
        found = measured(name, texts, trained, source)
        if not found["figures"]:
            print(f"{name}: its twin measures nothing", flush=True)
            continue
        text = yaml.safe_dump(found, sort_keys=False, default_flow_style=None, width=120)
        (arguments.out / f"{name}.yaml").write_text(text)
        print(f"{name}: {', '.join(found['figures'])}", flush=True)  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main())
