"""LESS: dropped tokens are folded into a small linear-attention state, which shares the softmax with kept tokens."""

import torch
from torch import Tensor
from torch.nn.functional import gelu

from kernels_ref.twins.attention import attend, by_kv_head, by_query_head, causal, column_sums
from kernels_ref.twins.fates import Dropped
from kernels_ref.twins.merges import others
from kernels_ref.twins.part import Setting, part_of
from kernels_ref.twins.slots import Slots, best
from kernels_ref.twins.states import LayerStates, States
from kvsim.traits.fates import LinearState

TOKENS = 1024  # of the text that kernels are fitted on: its last
QUERIES, KEYS = 64, 256  # of them, drawn
STEPS, RATE = 30, 0.01  # of Adam


@part_of(LinearState)
class Folded(Dropped):
    """LESS (arXiv:2402.09398, section 3): out = (sum_kept exp(qk) v + phi(q) H) / (sum_kept exp(qk) + phi(q) z).

    H = sum psi(k) v and z = sum psi(k) run over dropped tokens. phi and psi are |gelu(gelu(x A) B)|, psi times a scale
    of its head. They are fitted layer by layer to the full attention's output (mean squared error), as in the paper,
    but in few steps: A stays as drawn, B and the scale are trained, where each query has lost
    what is neither heavy in the whole text nor among the newest before it.
    """

    def __init__(self, trait: LinearState, setting: Setting) -> None:
        super().__init__(trait, setting)
        model = setting.model
        shape = model.layers, model.kv_heads, trait.rank
        self.sums = [torch.zeros(*shape[1:], model.head_dim) for _ in range(model.layers)]
        self.norms = [torch.zeros(*shape[1:]) for _ in range(model.layers)]

    def prepare(self, states: States) -> None:
        """The kernels."""
        source = self.setting.calibration or states
        end = len(source)
        self.kernels = [
            fitted(layer.slice(max(0, end - TOKENS), end), self.trait, self.setting, i)
            for i, layer in enumerate(source.layers)
        ]
        device = states.layers[0].keys.device
        self.sums, self.norms = [x.to(device) for x in self.sums], [x.to(device) for x in self.norms]

    def taken(self, layer: int, slots: Slots, stay: Tensor, at_decode: bool) -> Slots:
        """Kept slots; the others go into the state."""
        gone = others(slots, stay)
        if gone.shape[1]:
            lost = slots.take(gone)
            features = self.kernels[layer].of_keys(lost.key) * lost.valid[..., None]
            self.sums[layer] = self.sums[layer] + features.transpose(1, 2) @ lost.value
            self.norms[layer] = self.norms[layer] + features.sum(1)
        return slots.take(stay)

    def beside(self, layer: int, queries: Tensor) -> tuple[Tensor, Tensor]:
        """What the state says, and the log of its mass."""
        features, heads = self.kernels[layer].of_queries(queries), queries.shape[0]
        mass = (features * by_query_head(self.norms[layer], heads)[:, None]).sum(-1)
        out = features @ by_query_head(self.sums[layer], heads)
        return out / mass.clamp(min=1e-30)[..., None], mass.log()

    def held(self, layer: int, slots: Slots) -> list[Tensor]:
        """The state, fp32."""
        return [self.sums[layer], self.norms[layer]]

    def notes(self) -> tuple[str, ...]:
        """How far the kernels are trained."""
        return (f"LESS: kernels' second matrices fitted in {STEPS} steps on {TOKENS} tokens, their first as drawn",)


class Kernels:
    """Feature maps of one layer: of queries by query head, of keys by kv head."""

    def __init__(self, generator: torch.Generator, heads: int, kv_heads: int, dim: int, trait: LinearState) -> None:
        def drawn(*shape: int) -> Tensor:
            bound = (6 / (shape[1] + shape[2])) ** 0.5
            return (2 * torch.rand(*shape, generator=generator) - 1) * bound

        self.first = drawn(heads, dim, trait.hidden), drawn(kv_heads, dim, trait.hidden)
        self.second = [drawn(heads, trait.hidden, trait.rank), drawn(kv_heads, trait.hidden, trait.rank)]
        self.scale = torch.zeros(kv_heads, 1, 1)  # log

    def to(self, device: torch.device) -> "Kernels":
        """The same there."""
        self.first = self.first[0].to(device), self.first[1].to(device)
        self.second = [x.to(device) for x in self.second]
        self.scale = self.scale.to(device)
        return self

    def of_queries(self, queries: Tensor) -> Tensor:
        """[H, n, rank] of queries [H, n, D]."""
        return gelu(gelu(queries @ self.first[0]) @ self.second[0]).abs()

    def of_keys(self, keys: Tensor) -> Tensor:
        """[Hk, n, rank] of keys [Hk, n, D]."""
        return gelu(gelu(keys @ self.first[1]) @ self.second[1]).abs() * self.scale.exp()


def fitted(layer: LayerStates, trait: LinearState, setting: Setting, index: int) -> Kernels:
    """Kernels of a layer: Adam on the error of attention's output, where H2O drops what the policy would drop."""
    heads, total, dim = layer.queries.shape
    kv_heads = layer.keys.shape[0]
    generator = setting.generator(index)
    kernels = Kernels(generator, heads, kv_heads, dim, trait).to(layer.keys.device)
    late = torch.arange(total // 2, total)
    asking = late[torch.randperm(len(late), generator=generator)[:QUERIES]].to(layer.keys.device)
    heavy, newest = _heavy(layer, setting)
    if total <= newest + int(heavy.sum(1).max()):
        return kernels
    queries, at = layer.queries[:, asking], torch.arange(total, device=layer.keys.device)
    target, shares = attend(queries, layer.keys, layer.values, causal(asking, at), None)
    kept = shares * by_query_head(heavy[:, None] | (at[None] > asking[:, None] - newest)[None], heads)
    scores = (queries @ by_query_head(layer.keys, heads).transpose(1, 2)) * dim**-0.5
    mass = scores.masked_fill(~causal(asking, at), -torch.inf).logsumexp(-1, keepdim=True)
    numerator, share = kept @ by_query_head(layer.values, heads), kept.sum(-1, keepdim=True)

    drawn = torch.rand(heavy.shape, generator=generator).to(heavy.device).masked_fill(heavy, 2.0)
    some = drawn.argsort(dim=1)[:, : min(KEYS, total - int(heavy.sum(1).max()))]
    keys, values = (x.gather(1, some[..., None].expand(-1, -1, x.shape[2])) for x in (layer.keys, layer.values))
    values = by_query_head(values, heads)
    stands_for = (total - int(heavy.sum(1).max())) / some.shape[1]
    lost = by_query_head((some[:, None] <= asking[None, :, None] - newest) * stands_for, heads) * (-mass).exp()
    inner = gelu(queries @ kernels.first[0]), gelu(keys @ kernels.first[1])

    def folded() -> Tensor:
        """[H, queries, keys]: the state's part of softmax, the whole softmax's sum being 1."""
        of_keys = gelu(inner[1] @ kernels.second[1]).abs() * kernels.scale.exp()
        return gelu(inner[0] @ kernels.second[0]).abs() @ by_query_head(of_keys, heads).transpose(1, 2) * lost

    right = (1 - share[..., 0]).clamp(min=1e-6).log() - folded().sum(-1).clamp(min=1e-30).log()
    kernels.scale = by_kv_head(right.median(-1).values[:, None], kv_heads)[..., None] * kv_heads / heads
    with torch.enable_grad():
        kernels.second = [x.clone().requires_grad_() for x in kernels.second]
        kernels.scale = kernels.scale.clone().requires_grad_()
        adam = torch.optim.Adam([*kernels.second, kernels.scale], lr=RATE)
        for _ in range(STEPS):
            part = folded()
            out = (numerator + part @ values) / (share + part.sum(-1, keepdim=True)).clamp(min=1e-12)
            loss = (out - target).square().mean() / target.square().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    kernels.second, kernels.scale = [x.detach() for x in kernels.second], kernels.scale.detach()
    return kernels


def _heavy(layer: LayerStates, setting: Setting) -> tuple[Tensor, int]:
    """Heavy hitters [Hk, T] of a text, and how many of the newest stay: the policy's shares of its length."""
    kv_heads, total = layer.keys.shape[:2]
    shares = setting.policy.retention.budget.parts
    counts = [max(1, int(share * total)) for share in shares]
    rank = by_kv_head(column_sums(layer.queries, layer.keys), kv_heads)
    everything = torch.ones_like(rank, dtype=torch.bool)
    stay = best(rank, torch.full((kv_heads,), counts[0], device=rank.device), everything)
    return ~everything.scatter(1, stay, False), counts[-1]
