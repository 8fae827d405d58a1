"""How many bytes of cache fit, computed as an engine computes it, term by term."""

from dataclasses import dataclass

from kvsim.engine.serving import Serving
from kvsim.errors import UserError
from kvsim.specs.hardware import Machine
from kvsim.traits.layout import Layout
from kvsim.traits.placement import DRAM, HBM


@dataclass(frozen=True)
class Capacity:
    """Of one chip. `terms` add up to the HBM pool: positive what there is, negative what takes from it, in bytes."""

    terms: dict[str, int]
    pool_bytes: dict[str, int]
    resident_bytes: int  # HBM that is not cache: weights, activations, context, graphs

    @property
    def hbm_bytes(self) -> int:
        """The cache's room in HBM."""
        return self.pool_bytes[HBM]


def capacity(machine: Machine, layout: Layout, serving: Serving) -> Capacity:
    """Room for the cache on one chip of a replica.

    Raises:
        UserError: the weights, or a single block beside them, do not fit.
    """
    model, tp = layout.geo.model, layout.geo.tp
    total = int(machine.chip.memory.capacity)
    resting = layout.policy.placement.weights_in(layout.geo)
    weights = int(model.weight_bytes / tp * resting[HBM])
    terms = {
        "driver reports": total,
        "left to others (memory_utilization)": -round(total * (1 - serving.memory_utilization)),
        "weights": -weights,
        "activation peak": -activation_bytes(layout, serving),
        "CUDA context": -int(serving.context_bytes),
        "CUDA graphs": -int(serving.graph_bytes) if serving.graph_tokens else 0,
        "policy's static bytes": -layout.static_bytes,
    }
    room = sum(terms.values())
    resident = sum(-value for name, value in terms.items() if value < 0 and "left" not in name)
    block = layout.block_bytes
    dram = int(machine.host.memory.capacity * serving.dram_utilization) // machine.chips
    if layout.offloaded:
        pools = {HBM: room, DRAM: dram, **_home(machine, layout, serving, {HBM: room, DRAM: dram}, resting)}
    else:
        pools = {HBM: _whole(room, block, serving), DRAM: dram}
    home = pools[layout.policy.placement.home]
    if room > 0 >= home and 0 < serving.kv_blocks <= serving.null_blocks:
        raise UserError(
            f"kv_blocks={serving.kv_blocks}: must be more than the {serving.null_blocks} of the engine's own"
        )
    if room <= 0 or home <= 0:
        need = ", ".join(f"{name} {value / 1e9:+.2f} GB" for name, value in terms.items())
        raise UserError(
            f"{model.name} with tp {tp} leaves no room for a cache on {machine.name}: {need}; "
            "take more chips (--tp), smaller weights (--set weight_dtype=int4) or another machine"
        )
    return Capacity(terms, pools, resident)


def _home(
    machine: Machine, layout: Layout, serving: Serving, known: dict[str, int], weights: dict[str, float]
) -> dict[str, int]:
    """Room for what rests outside HBM, as if all of it were in its home tier: the tier that is full first bounds it.

    `known`: rooms of HBM and DRAM; weights in HBM are out of its room already.

    Raises:
        UserError: the machine lacks a tier, or the weights that rest there do not fit.
    """
    placement, rooms = layout.policy.placement, []
    for tier in dict.fromkeys((*placement.away(), *weights)):
        share, resting = placement.away().get(tier, 0.0), weights.get(tier, 0.0) if tier != HBM else 0.0
        if not share and not resting:
            continue
        room = known[tier] if tier in known else int(machine.tier(tier).capacity_bytes) // machine.chips
        room -= int(layout.geo.model.weight_bytes / layout.geo.tp * resting)
        if room <= 0 and resting:
            raise UserError(f"{machine.name}: a chip's share of {tier} does not hold {resting:.0%} of the weights")
        if share:
            rooms.append(room if share == 1.0 else int(room / share))
    return {placement.home: _whole(min(rooms), layout.block_bytes, serving)}


def _whole(room: int, block_bytes: int, serving: Serving) -> int:
    """Whole blocks of `room`, or as many as are set, without the engine's own."""
    blocks = serving.kv_blocks or max(0, room) // block_bytes
    return (blocks - serving.null_blocks) * block_bytes


def activation_bytes(layout: Layout, serving: Serving) -> int:
    """Peak of a full token budget, as an engine's profiling run meets it.

    Four rows of the hidden state (residual, normed, attention in and out), the MLP's gate and up projections and
    their product; then fp32 logits of every sequence with two copies in sampling (greedy and top-k/top-p).
    """
    model, tokens = layout.geo.model, serving.max_num_batched_tokens
    inner = model.experts.ffn * (model.experts.active + model.experts.shared) if model.experts else model.ffn
    rows = tokens * 2 * (4 * model.hidden + 3 * inner // layout.geo.tp)
    return rows + serving.max_num_seqs * model.vocab * 4 * 3
