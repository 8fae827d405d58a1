"""Results of benchmark clients: an object of lists, each with an entry a request."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_list, as_object, documents
from kvsim.traces.source import Source
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

_LISTS = ("input_lens", "output_lens", "ttfts", "itls")
_STARTS = "start_times"


def chunks(source: Source, how: str) -> Iterator[Chunk]:
    """One chunk: when the client sent each request, its lengths, the times to its first token and between the others.

    Raises:
        UserError: a list is missing (`how` says how to get it) or too short, a figure is none.
    """
    turns, numbers = Turns(source), count(1)
    for document in documents(source):
        result, where = as_object(document.value, document.where), document.where
        for at, row in enumerate(_rows(source, result, where, how)):
            if row["errors"]:
                source.dropped["failed requests"] += 1
                continue
            _add(turns, next(numbers), row, f"{where}: request {at}")
    yield turns.chunk(measured=True)


def _rows(source: Source, result: dict[str, Any], where: str, how: str) -> Iterator[dict[str, Any]]:
    for name in _LISTS:
        if name not in result:
            raise UserError(f"{where}: has no {name!r}, so nothing of single requests: {how}")
    lists = {name: as_list(result[name], f"{where}: {name}") for name in _LISTS}
    requests = len(lists["input_lens"])
    lists[_STARTS] = _starts(source, result, where, requests)
    lists["errors"] = as_list(result.get("errors") or [""] * requests, f"{where}: errors")
    if any(len(values) != requests for values in lists.values()):
        counts = ", ".join(f"{len(values)} {name}" for name, values in lists.items())
        raise UserError(f"{where}: its lists must be of one length, but there are {counts}")
    for values in zip(*lists.values(), strict=True):
        yield dict(zip(lists, values, strict=True))


def _starts(source: Source, result: dict[str, Any], where: str, requests: int) -> list[Any]:
    if source.lengths_only:
        return [0] * requests
    if _STARTS not in result:
        raise UserError(
            f"{where}: has no {_STARTS!r}, so nobody knows when its requests arrived; write a workload YAML with "
            "`generate: {arrivals: ..., lengths_from: FILE}`"
        )
    return as_list(result[_STARTS], f"{where}: {_STARTS}")


def _add(turns: Turns, number: int, row: dict[str, Any], where: str) -> None:
    first_s = fields.seconds(row["ttfts"], f"{where}: ttfts")  # 0 where the answer was not streamed
    rest_s = sum(fields.seconds(value, f"{where}: itls") for value in as_list(row["itls"], f"{where}: itls"))
    turns.add(
        number,
        None,
        fields.time(1).one(row[_STARTS], f"{where}: {_STARTS}"),
        fields.whole(row["input_lens"], f"{where}: input_lens"),
        fields.whole(row["output_lens"], f"{where}: output_lens"),
        ttft_s=first_s or NAN,
        e2e_s=first_s + rest_s if first_s else NAN,
    )
