"""Results of `vllm bench serve --save-detailed`, a JSON object: arrivals, lengths and measured latencies."""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_list, as_object, documents
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk
from kvsim.traces.turns import NAN, Turns

STRICT = False
_LISTS = ("start_times", "input_lens", "output_lens", "ttfts", "itls")


def sniff(head: Head) -> bool:
    return {"num_prompts", "total_input_tokens", "completed"} <= set(head.keys) and "input_throughput" not in head.keys


def read(source: Source) -> Iterator[Chunk]:
    turns, clock = Turns(source), fields.time(1)
    for document in documents(source):
        result, where = as_object(document.value, document.where), document.where
        lists = {name: _list(result, name, where) for name in _LISTS}
        errors = as_list(result.get("errors") or [""] * len(lists["ttfts"]), f"{where}: errors")
        several = {name: len(values) for name, values in {**lists, "errors": errors}.items()}
        if len(set(several.values())) > 1:
            counts = ", ".join(f"{many} {name}" for name, many in several.items())
            raise UserError(f"{where}: its lists must be of one length, but there are {counts}")
        for at, error in enumerate(errors):
            if error:
                source.dropped["failed requests"] += 1
                continue
            start, prompt, output, ttft, itls = (lists[name][at] for name in _LISTS)
            here = f"{where}: request {at}"
            first_s = fields.seconds(ttft, f"{here}: ttfts")
            rest = as_list(itls, f"{here}: itls")
            turns.add(
                at + 1,
                None,
                clock.one(start, f"{here}: start_times"),
                fields.whole(prompt, f"{here}: input_lens"),
                fields.whole(output, f"{here}: output_lens"),
                ttft_s=first_s or NAN,
                e2e_s=first_s + sum(fields.seconds(value, f"{here}: itls") for value in rest) if first_s else NAN,
            )
    yield turns.chunk(measured=True)


def _list(result: dict[str, Any], name: str, where: str) -> list[Any]:
    if name not in result:
        raise UserError(f"{where}: has no {name!r}: run `vllm bench serve --save-result --save-detailed` of today")
    return as_list(result[name], f"{where}: {name}")
