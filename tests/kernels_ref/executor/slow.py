"""A slow decoder in float64 that keeps every row and, by each policy's definition, uses what the policy would have."""

import torch

from kernels_ref.executor.shape import Shape
from kernels_ref.executor.weights import drawn
from kernels_ref.quantize import pack_reference, unpack

Segment = tuple[int, int]  # (past, new)


class Slow:
    """One sequence; subclasses say what a query sees. Rows are rounded as they are stored."""

    def __init__(self, shape: Shape, prompt: int) -> None:
        self.shape, self.prompt = shape, prompt
        self.named = drawn(shape, "cpu", 0)
        none = torch.zeros(0, shape.kv_heads, shape.dim).double()
        self.k, self.v = [none] * shape.layers, [none] * shape.layers
        self.seen = 0

    def weight(self, name: str) -> torch.Tensor:
        return self.named(name).double()

    def run(self, tokens: list[int]) -> torch.Tensor:
        """Read `tokens` on top of what was seen; logits [vocab] after the last."""
        shape, n, dim = self.shape, len(tokens), self.shape.dim
        decoding = self.seen >= self.prompt
        place = torch.arange(self.seen, self.seen + n)
        angle = place[:, None] * shape.rope_theta ** (-torch.arange(0, dim, 2).double() / dim)

        def norm(x: torch.Tensor) -> torch.Tensor:
            return x / (x.square().mean(-1, keepdim=True) + shape.norm_eps).sqrt()

        def turned(x: torch.Tensor) -> torch.Tensor:
            low, high = x.chunk(2, -1)
            cosine, sine = angle.cos()[:, None], angle.sin()[:, None]
            return torch.cat([low * cosine - high * sine, high * cosine + low * sine], -1)

        x = self.weight("model.embed_tokens.weight")[tokens]
        for i in range(shape.layers):
            at, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
            normed = norm(x)
            q, k, v = (
                (normed @ self.weight(f"{at}.{p}_proj.weight").T + self.weight(f"{at}.{p}_proj.bias")).unflatten(
                    1, (-1, dim)
                )
                for p in "qkv"
            )
            self.k[i] = torch.cat([self.k[i], turned(k).half().double()])
            self.v[i] = torch.cat([self.v[i], v.half().double()])
            mixed = self.attend(i, turned(q), place, decoding)
            x = x + mixed.flatten(1) @ self.weight(f"{at}.o_proj.weight").T
            normed = norm(x)
            gate, up = (normed @ self.weight(f"{mlp}.{p}_proj.weight").T for p in ("gate", "up"))
            x = x + (torch.nn.functional.silu(gate) * up) @ self.weight(f"{mlp}.down_proj.weight").T
        self.seen += n
        return norm(x[-1]) @ self.weight("lm_head.weight").T

    def attend(self, layer: int, q: torch.Tensor, place: torch.Tensor, decoding: bool) -> torch.Tensor:
        """[queries, heads, dim]: `q` at positions `place` over the rows that `rows` gives and `sees` allows."""
        k, v = self.rows(layer, int(place[0]), decoding)
        group = q.shape[1] // k.shape[1]
        key = torch.arange(len(k))
        seen = (key[None] <= place[:, None])[None] & self.sees(layer, place, key, decoding)
        k, v, seen = (
            k.repeat_interleave(group, 1),
            v.repeat_interleave(group, 1),
            seen.expand(self.shape.kv_heads, -1, -1).repeat_interleave(group, 0),
        )
        scores = torch.einsum("qhd,khd->hqk", q, k) * q.shape[2] ** -0.5
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        self.weighed(layer, weights.unflatten(0, (-1, group)).sum((1, 2)), q, k, place, decoding)
        return torch.einsum("hqk,khd->qhd", weights, v)

    def rows(self, layer: int, past: int, decoding: bool) -> tuple[torch.Tensor, torch.Tensor]:
        return self.k[layer], self.v[layer]

    def sees(self, layer: int, place: torch.Tensor, key: torch.Tensor, decoding: bool) -> torch.Tensor:
        """[1 or kv_heads, queries, keys]."""
        return torch.ones(1, len(place), len(key), dtype=torch.bool)

    def weighed(self, layer, sums, q, k, place, decoding) -> None:  # type: ignore[no-untyped-def]
        """`sums` [kv_heads, keys]: the attention that each key got."""


class Fp8(Slow):
    def rows(self, layer: int, past: int, decoding: bool) -> tuple[torch.Tensor, torch.Tensor]:
        found = []
        for x in (self.k[layer], self.v[layer]):
            x = x.clone()
            stored = slice(None) if decoding else slice(0, past)
            x[stored] = x[stored].half().to(torch.float8_e4m3fn).double()
            found.append(x)
        return found[0], found[1]


class Streaming(Slow):
    sinks, window = 4, 40

    def sees(self, layer: int, place: torch.Tensor, key: torch.Tensor, decoding: bool) -> torch.Tensor:
        return ((key < self.sinks)[None] | (key[None] > place[:, None] - self.window))[None]


class Snapkv(Slow):
    capacity, window = 48, 8

    def __init__(self, shape: Shape, prompt: int) -> None:
        super().__init__(shape, prompt)
        self.kept: dict[int, torch.Tensor] = {}
        self.queries: dict[int, torch.Tensor] = {}

    def sees(self, layer: int, place: torch.Tensor, key: torch.Tensor, decoding: bool) -> torch.Tensor:
        if not decoding or layer not in self.kept:
            return super().sees(layer, place, key, decoding)
        kept = torch.nn.functional.pad(self.kept[layer], (0, len(key) - self.prompt), value=True)
        return kept[:, None]

    def weighed(self, layer, sums, q, k, place, decoding) -> None:  # type: ignore[no-untyped-def]
        if decoding or self.prompt <= self.capacity:
            return
        self.queries[layer] = torch.cat([self.queries.get(layer, q[:0]), q])[-self.window :]
        if int(place[-1]) + 1 < self.prompt:
            return
        before = self.prompt - self.window
        scores = torch.einsum("qhd,khd->hqk", self.queries[layer], k) * q.shape[2] ** -0.5
        future = torch.arange(self.prompt)[None] > torch.arange(before, self.prompt)[:, None]
        weights = scores.masked_fill(future, float("-inf")).softmax(-1)
        votes = weights.unflatten(0, (self.shape.kv_heads, -1)).sum((1, 2))[:, :before]
        votes = torch.nn.functional.avg_pool1d(votes, 5, stride=1, padding=2)
        best = votes.topk(self.capacity - self.window, -1).indices
        self.kept[layer] = torch.zeros(self.shape.kv_heads, self.prompt, dtype=torch.bool).scatter(1, best, True)
        self.kept[layer][:, before:] = True


class H2o(Slow):
    heavy, recent = 0.25, 0.2

    def __init__(self, shape: Shape, prompt: int) -> None:
        super().__init__(shape, prompt)
        self.scores = [torch.zeros(shape.kv_heads, 0).double()] * shape.layers
        self.alive = [torch.ones(shape.kv_heads, 0, dtype=torch.bool)] * shape.layers
        self.places = max(1, int(self.heavy * prompt)), max(1, int(self.recent * prompt))

    def sees(self, layer: int, place: torch.Tensor, key: torch.Tensor, decoding: bool) -> torch.Tensor:
        grown = len(key) - self.scores[layer].shape[1]
        self.scores[layer] = torch.nn.functional.pad(self.scores[layer], (0, grown))
        self.alive[layer] = torch.nn.functional.pad(self.alive[layer], (0, grown), value=True)
        if decoding:
            self._evict(layer, len(key))
        return self.alive[layer][:, None].clone()

    def _evict(self, layer: int, tokens: int) -> None:
        """Of all but the newest, the least scored go until the budget is met."""
        heavy, recent = self.places
        for head in range(self.shape.kv_heads):
            older = torch.nonzero(self.alive[layer][head, : tokens - recent])[:, 0]
            excess = len(older) - heavy
            if excess > 0:
                self.alive[layer][head, older[self.scores[layer][head, older].argsort()[:excess]]] = False

    def weighed(self, layer, sums, q, k, place, decoding) -> None:  # type: ignore[no-untyped-def]
        self.scores[layer] = self.scores[layer] + sums
        if not decoding and int(place[-1]) + 1 == self.prompt and sum(self.places) < self.prompt:
            self._evict(layer, self.prompt)


class Kivi(Slow):
    bits = 2

    def rows(self, layer: int, past: int, decoding: bool) -> tuple[torch.Tensor, torch.Tensor]:
        k, v = self.k[layer].clone(), self.v[layer].clone()
        packed = past // 128 * 128
        if packed:
            blocks = [x[:packed].unflatten(0, (-1, 128)).transpose(1, 2).half() for x in (k, v)]
            for x, dense in zip((k, v), unpack(pack_reference(*blocks, self.bits, 32)), strict=True):
                x[:packed] = dense.transpose(1, 2).flatten(0, 1)
                if not decoding:
                    x[:packed] = x[:packed].half().double()
        return k, v
