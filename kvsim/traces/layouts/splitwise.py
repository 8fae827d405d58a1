"""splitwise-sim, CSV with seconds: request type 2 (LLM inference), application 0, batch size 1."""

from collections.abc import Iterator

from kvsim.traces.columns import rows
from kvsim.traces.trace import Trace

KIND = "csv"
HOLDS = frozenset[str]()
UNITS_PER_S = 0


def lines(trace: Trace) -> Iterator[str]:
    yield "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
    for number, (arrival, prompt, output) in enumerate(rows(trace)):
        yield f"{number},2,0,{arrival!r},1,{prompt},{output}\n"
