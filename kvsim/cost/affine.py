"""Op builders compiled to coefficients: what makes pricing a step cost microseconds.

A builder is affine in its features (sequences, tokens, bytes ...), so probing it at the unit vectors gives the
coefficients of each of its time terms; its kernels then take `latency + max over terms (coefficients . features)`.
Only + - * / and max are used, in one fixed order, so that arrays give bit for bit what single steps give.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kvsim.cost.op import Num, Op
from kvsim.cost.rates import Rates

Coefficient = float | NDArray[np.float64]
Term = tuple[tuple[int, Coefficient], ...]  # (feature, coefficient) where a coefficient is not 0


@dataclass(frozen=True)
class Kernels:
    """Seconds of a builder's Ops: `latency` and, for each Op, terms of which the largest counts."""

    latency: float
    ops: tuple[tuple[Term, ...], ...]

    @cached_property
    def seconds(self) -> Callable[[Sequence[Num]], Num]:
        """Seconds at features that are numbers, or arrays of one shape; latency not included."""
        ops = [[_dot(term) for term in terms] for terms in self.ops]
        if len(ops) == 1:
            return ops[0][0]  # `compiled` leaves one term in its first Op

        def total_s(features: Sequence[Num]) -> Num:
            total = ops[0][0](features)
            for terms in ops[1:]:
                most = terms[0](features)
                for term in terms[1:]:
                    value = term(features)
                    if type(most) is float and type(value) is float:
                        most = most if most >= value else value
                    else:
                        most = np.maximum(most, value)
                total = total + most
            return total

        return total_s


def _dot(term: Term) -> Callable[[Sequence[Num]], Num]:
    """coefficients . features, as a function of the features."""
    if len(term) == 1:
        ((i, a),) = term
        return lambda features: a * features[i]
    if len(term) == 2:
        (i, a), (j, b) = term
        return lambda features: a * features[i] + b * features[j]
    if len(term) == 3:
        (i, a), (j, b), (k, c) = term
        return lambda features: a * features[i] + b * features[j] + c * features[k]
    return lambda features: sum((factor * features[at] for at, factor in term), start=0.0)


def probe(build: Callable[..., Sequence[Op]], features: int, rates: Rates) -> tuple[float, NDArray[np.float64]]:
    """(latency, coefficients [ops, terms, features]) of `build(*features)`; absent terms are rows of zeros.

    What an Op takes at zero (weights that are read whatever the batch) counts as latency; such an Op stands alone.
    """
    at_zero = build(*[0.0] * features)
    at_units = [build(*[float(i == j) for j in range(features)]) for i in range(features)]
    latency, most = 0.0, 1  # count is one number here
    table: list[list[list[float]]] = []
    for index, op in enumerate(at_zero):
        base = rates.terms(op)
        latency += op.count * float(np.max(base.pop("latency")))
        latency += op.count * max(map(float, base.values()))
        units = [rates.terms(ops[index]) for ops in at_units]
        table.append([[op.count * (float(unit[name]) - float(base[name])) for unit in units] for name in base])
        most = max(most, len(base))
    for terms in table:
        terms += [[0.0] * features] * (most - len(terms))
    return latency, np.array(table, np.float64).reshape(len(table), most, features)


def compiled(latency: float, tables: Sequence[NDArray[np.float64]]) -> Kernels:
    """Kernels of one table, or of several alike (a layer kind each), whose coefficients become columns [kinds, 1].

    Terms that another one exceeds for all features are dropped, then Ops of a single term are added up into one.
    """
    stack = np.stack(tables)  # [kinds, ops, terms, features]
    single = np.zeros((len(tables), stack.shape[3]))
    ops: list[tuple[Term, ...]] = []
    for index in range(stack.shape[1]):
        terms = _undominated([stack[:, index, t] for t in range(stack.shape[2])])
        if len(terms) == 1:
            single = single + terms[0]
        else:
            ops.append(tuple(_term(term) for term in terms))
    return Kernels(latency, ((_term(single),), *ops))


def widened(table: NDArray[np.float64], ops: int, terms: int) -> NDArray[np.float64]:
    """A table with Ops and terms of no seconds added."""
    wide = np.zeros((ops, terms, table.shape[2]))
    wide[: table.shape[0], : table.shape[1]] = table
    return wide


def _undominated(terms: list[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Terms that can be the largest for some features, none of which is negative."""
    kept: list[NDArray[np.float64]] = []
    for i, term in enumerate(terms):
        rivals = [other for j, other in enumerate(terms) if j != i and ((other != term).any() or j < i)]
        if not any((other >= term).all() for other in rivals):
            kept.append(term)
    return kept


def _term(term: NDArray[np.float64]) -> Term:
    """[kinds, features] to (feature, coefficient) pairs: floats for one kind, columns [kinds, 1] for several."""
    used = [i for i in range(term.shape[1]) if term[:, i].any()]
    if len(term) == 1:
        return tuple((i, float(term[0, i])) for i in used)
    return tuple((i, term[:, i : i + 1].copy()) for i in used)


def merge(
    found: list[tuple[int | None, int, float, NDArray[np.float64]]],
    seen: int | None,
    layers: int,
    latency: float,
    table: NDArray[np.float64],
) -> None:
    """Add the kernels of `layers` layers to those of others that see as much and price alike, or to the list."""
    for at, (other, count, late, known) in enumerate(found):
        if (
            other == seen
            and known.shape == table.shape
            and np.allclose(known / count, table / layers, rtol=1e-12, atol=0.0)
        ):
            found[at] = (seen, count + layers, late + latency, known + table)
            return
    found.append((seen, layers, latency, table))
