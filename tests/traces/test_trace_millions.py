"""Memory grows with rows no faster than lets 10 million through in 1 GB."""

import subprocess
import sys
from pathlib import Path

from kvsim.traces.read import read_trace

_CODE = (
    "import resource, sys; from click.testing import CliRunner; from kvsim.cli.trace_tools import trace; "
    "done = CliRunner().invoke(trace, sys.argv[1:]); assert done.exit_code == 0, done; "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
)
_FEW, _MANY = 100_000, 400_000
_MOST_BYTES_A_ROW = 90.0


def _peak_bytes(*words: object) -> float:
    """Peak resident bytes of a `kvsim trace` command in a process of its own."""
    command = [sys.executable, "-c", _CODE, *map(str, words)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_generate_import_and_stats_of_many_rows(tmp_path: Path) -> None:
    spent = {}
    for rows in (_FEW, _MANY):
        file, again = tmp_path / f"{rows}.csv", tmp_path / f"{rows}-again.csv"
        spent[rows] = [
            _peak_bytes("generate", "--requests", rows, "--rate", 100, "--out", file),
            _peak_bytes("import", file, "--out", again),
            _peak_bytes("stats", file),
        ]
        assert again.read_bytes() == file.read_bytes()
    assert len(read_trace(tmp_path / f"{_MANY}.csv")) == _MANY
    for few, many in zip(spent[_FEW], spent[_MANY], strict=True):
        assert (many - few) / (_MANY - _FEW) < _MOST_BYTES_A_ROW
