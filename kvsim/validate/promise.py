"""A policy's promise against its reality: step times as it allows, as released and as executed, and room gained."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kvsim import find
from kvsim.engine.capacity import capacity
from kvsim.errors import UserError
from kvsim.replay import serving_preset
from kvsim.traits.layout import Layout
from kvsim.traits.policy import policy as named_policy
from kvsim.validate.stepcheck import SERVING, Priced, machine_of, priced


@dataclass(frozen=True)
class Promise:
    """One executed decode shape under one policy. `published_s`: as its released code does, None where that is the
    same; `foreseen_s`: by the executor's kernels; `full_s`: the full cache executed at this shape; `room`: tokens that
    fit, over those of the full cache."""

    chip: str
    model: str
    policy: str
    batch: int
    context: int
    ideal_s: float
    published_s: float | None
    foreseen_s: float
    executed_s: float
    full_s: float | None
    room: float | None

    @property
    def promised(self) -> float | None:
        """Times as fast as the executed full cache, as predicted."""
        return self.full_s / self.ideal_s if self.full_s else None

    @property
    def kept(self) -> float | None:
        """Times as fast as the full cache, both executed."""
        return self.full_s / self.executed_s if self.full_s else None


def promises(chip: str, found: Sequence[Priced]) -> list[Promise]:
    """For each model and policy, the graphed decode step with the most tokens of those that `full` was executed at too,
    or of all where there is none; of batches alike in length."""
    decodes = [
        one
        for one in found
        if one.row.phase == "decode" and one.row.graphed and one.row.fidelity == "ideal" and len(one.row.decodes) == 1
    ]
    full = {(one.row.model, one.row.tp, one.row.decodes): one for one in decodes if one.row.policy == "full"}
    shown = []
    for model, tp, policy in dict.fromkeys((one.row.model, one.row.tp, one.row.policy) for one in decodes):
        mine = [one for one in decodes if (one.row.model, one.row.tp, one.row.policy) == (model, tp, policy)]
        beside = [one for one in mine if (model, tp, one.row.decodes) in full]
        most = max(beside or mine, key=lambda one: (one.row.context, one.row.batch))
        row, ((batch, context, prompt),) = most.row, most.row.decodes
        other = full.get((model, tp, row.decodes))
        both = [row, replace(row, fidelity="published")]
        ideal, published = (one.seconds for one in priced(chip, both, as_executed=False))
        shown.append(
            Promise(
                chip,
                model,
                policy,
                batch,
                context,
                ideal,
                None if published == ideal else published,
                most.seconds,
                row.seconds,
                other.row.seconds if other else None,
                room(machine_of(chip), model, policy, tp, prompt, context),
            )
        )
    return shown


def room(hw: str, model: str, policy: str, tp: int, prompt: int, context: int) -> float | None:
    """Sequences of this prompt and context that fit, over those of the full cache; None where nothing fits."""
    both = []
    for name in (policy, "full"):
        serving = serving_preset(SERVING)
        layout = Layout(named_policy(name), find.model(model), tp, serving.block_tokens)
        try:
            pools = capacity(find.machine(hw if tp == 1 else f"{hw}x{tp}"), layout, serving).pool_bytes
        except UserError:
            return None
        steps = max(1, context - prompt)
        hbm, home = layout.demand(context - steps, steps)[[layout.hbm_row, layout.home_row], -1].tolist()
        both.append(float(min(pools["hbm"] / hbm, pools[layout.policy.placement.home] / home)))
    return both[0] / both[1]
