"""OpenTelemetry's protocol as JSON (OTLP): its spans in the plain shape that other exporters write."""

from collections.abc import Iterator
from typing import Any

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.documents import as_list, as_object, value_of

SPANS = "resourceSpans"
_NAMES = {"traceId": "trace_id", "spanId": "span_id", "parentSpanId": "parent_span_id"}
_TIMES = {"startTimeUnixNano": "start_time", "endTimeUnixNano": "end_time"}
_MAX_NS = 2**63 - 1


def spans(entry: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, span) of all scopes of all resources; `start_time` and `end_time` are nanoseconds since 1970.

    Raises:
        UserError: something is not where the protocol has it.
    """
    for above, resource in _each(entry, SPANS, where):
        for inside, scope in _each(resource, "scopeSpans", above):
            for place, span in _each(scope, "spans", inside):
                yield place, _plain(span, place)


def _each(entry: dict[str, Any], name: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for at, value in enumerate(as_list(value_of(entry, name, where), f"{where}: {name}")):
        place = f"{where}: {name}[{at}]"
        yield place, as_object(value, place)


def _plain(span: dict[str, Any], where: str) -> dict[str, Any]:
    plain = {_NAMES.get(key, key): value for key, value in span.items()}
    for name, plain_name in _TIMES.items():
        plain[plain_name] = fields.whole(value_of(span, name, where), f"{where}: {name}", _MAX_NS)
    try:
        plain["attributes"] = _pairs(span.get("attributes", []), f"{where}: attributes")
    except RecursionError:
        raise UserError(f"{where}: attributes are nested too deep") from None
    return plain


def _pairs(values: Any, where: str) -> dict[str, Any]:
    found = {}
    for at, value in enumerate(as_list(values, where)):
        pair = as_object(value, f"{where}[{at}]")
        found[str(pair.get("key"))] = _value(pair.get("value"), f"{where}[{at}]: value")
    return found


def _value(value: Any, where: str) -> Any:
    """What an AnyValue holds."""
    kinds = as_object(value, where)
    if "kvlistValue" in kinds:
        return _pairs(as_object(kinds["kvlistValue"], where).get("values", []), where)
    if "arrayValue" in kinds:
        values = as_list(as_object(kinds["arrayValue"], where).get("values", []), where)
        return [_value(item, f"{where}[{at}]") for at, item in enumerate(values)]
    return next(iter(kinds.values()), None)
