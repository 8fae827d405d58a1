"""Any CSV or JSON lines file whose columns are named: `--map arrival=COLUMN,input=COLUMN,output=COLUMN`."""

from collections.abc import Iterator

from kvsim.errors import UserError
from kvsim.traces import fields
from kvsim.traces.rows import Layout, csv_chunks, json_chunks
from kvsim.traces.source import Head, Source
from kvsim.traces.trace import Chunk

STRICT = True


def sniff(head: Head) -> bool:
    return False  # only its columns' names make a file generic


def read(source: Source) -> Iterator[Chunk]:
    if not source.columns:
        raise UserError(f"{source.path}: the generic format needs --map arrival=COLUMN,input=COLUMN,output=COLUMN")
    clock = fields.time(fields.UNITS_PER_S[source.time_unit])
    layout = Layout(source.columns["arrival"], source.columns["input"], source.columns["output"], clock)
    return json_chunks(source, layout) if source.head.keys else csv_chunks(source, layout)
