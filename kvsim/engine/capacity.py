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
    weights = int(model.weight_bytes / tp)
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
    tier = layout.policy.placement.home
    if layout.offloaded and tier != DRAM:
        pools = {
            HBM: room,
            DRAM: dram,
            tier: _whole(int(machine.tier(tier).capacity_bytes) // machine.chips, block, serving),
        }
    elif layout.offloaded:
        pools = {HBM: room, DRAM: _whole(dram, block, serving)}
    else:
        pools = {HBM: _whole(room, block, serving), DRAM: dram}
    home = pools[layout.policy.placement.home]
    if room <= 0 or home <= 0:
        need = ", ".join(f"{name} {value / 1e9:+.2f} GB" for name, value in terms.items())
        raise UserError(
            f"{model.name} with tp {tp} leaves no room for a cache on {machine.name}: {need}; "
            "take more chips (--tp), smaller weights (--set weight_dtype=int4) or another machine"
        )
    return Capacity(terms, pools, resident)


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
