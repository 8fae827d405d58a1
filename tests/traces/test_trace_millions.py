"""Memory and time grow with rows no faster than lets 10 million through in 1 GB and 60 s."""

import subprocess
import sys
from pathlib import Path

from kvsim.traces.read import read_trace

_CODE = (
    "import resource, sys, time; from click.testing import CliRunner; from kvsim.cli.trace_tools import trace; "
    "begin = time.process_time(); done = CliRunner().invoke(trace, sys.argv[1:]); assert done.exit_code == 0, done; "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, time.process_time() - begin)"
)
_FEW, _MANY = 200_000, 1_000_000
_MOST_BYTES_A_ROW, _MOST_S_A_ROW = 90.0, 6e-6


def _spends(*words: object) -> tuple[float, float]:
    """Peak resident bytes and processor seconds of a `kvsim trace` command in a process of its own."""
    command = [sys.executable, "-c", _CODE, *map(str, words)]
    peak_bytes, spent_s = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(peak_bytes), float(spent_s)


def test_generate_import_and_stats_of_a_million_rows(tmp_path: Path) -> None:
    spent = {}
    for rows in (_FEW, _MANY):
        file, again = tmp_path / f"{rows}.csv", tmp_path / f"{rows}-again.csv"
        spent[rows] = [
            _spends("generate", "--requests", rows, "--rate", 100, "--out", file),
            _spends("import", file, "--out", again),
            _spends("stats", file),
        ]
        assert again.read_bytes() == file.read_bytes()
    assert len(read_trace(tmp_path / f"{_MANY}.csv")) == _MANY
    for few, many in zip(spent[_FEW], spent[_MANY], strict=True):
        assert (many[0] - few[0]) / (_MANY - _FEW) < _MOST_BYTES_A_ROW
        assert (many[1] - few[1]) / (_MANY - _FEW) < _MOST_S_A_ROW
