"""Which rows the table of results has: every policy at each budget that it can be set to, on every text."""

from collections.abc import Iterator, Sequence

from kernels_ref.quality.random_eviction import NAME as RANDOM
from kernels_ref.quality.start import ALL_TEXTS, Bench
from kvsim import find

BUDGETS = (0.5, 0.25, 0.1)
COMPOSED = (
    *("snapkv+kivi", "snapkv+kivi:bits=4", "duoattention+kivi:bits=4", "snapkv+think", "streaming+fp8"),
    "minicache+kivi:bits=4:group=128",
)


def policies() -> list[str]:
    """Every paper, some that are composed of two, and the random baseline."""
    return [*find.paper_names("kv"), *COMPOSED, RANDOM]


def budgets(bench: Bench, policy: str) -> list[float | None]:
    """Those that a policy can be set to; as published where there is none. Equal settings are measured once."""
    found: dict[str, float | None] = {}
    for budget in BUDGETS:
        sized = bench.sized(policy, budget)
        if sized.reached:
            found[sized.text] = budget  # what fits a smaller budget too is compared there
    return list(found.values()) or [None]


def rows(
    bench: Bench, names: Sequence[str], texts: Sequence[str] = ALL_TEXTS
) -> Iterator[tuple[str, float | None, str]]:
    """(policy, budget, text) of the whole table, by text: what was read for one is used for all."""
    sizes = {name: budgets(bench, name) for name in names}
    for text in texts:
        for name in names:
            for budget in sizes[name]:
                yield name, budget, text
