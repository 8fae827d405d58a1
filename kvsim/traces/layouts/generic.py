"""Any tool, CSV with seconds: to be read with `--map arrival=arrival,input=input,output=output`."""

from collections.abc import Iterator

from kvsim.traces.columns import rows
from kvsim.traces.trace import Trace

KIND = "csv"
HOLDS = frozenset[str]()
UNITS_PER_S = 0
COLUMNS = {"arrival": "arrival", "input": "input", "output": "output"}


def lines(trace: Trace) -> Iterator[str]:
    yield ",".join(COLUMNS.values()) + "\n"
    for arrival, prompt, output in rows(trace):
        yield f"{arrival!r},{prompt},{output}\n"
