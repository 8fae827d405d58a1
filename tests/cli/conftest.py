"""`kvsim` as a function of its command line, in this process and in one of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kvsim.cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The one line on stderr of a command that ended with a user's mistake."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        assert self.err.startswith("kvsim: ")
        return self.err


@pytest.fixture
def kvsim_cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """Runs the command line in this process."""

    def call(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["kvsim", *map(str, words)])
        before = signal.getsignal(signal.SIGTERM)
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as ending:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = capsys.readouterr()
        return Ended(int(ending.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def start() -> Callable[..., "subprocess.Popen[bytes]"]:
    """Starts the command line in a process of its own, both outputs piped."""

    def call(*words: object, options: tuple[str, ...] = (), **more: Any) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *options, "-m", "kvsim", *map(str, words)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen(command, env=environment, **pipes)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> list[str]:
    """`run`'s words for a trace of three requests, in a folder of its own."""
    path = tmp_path / "tiny.csv"
    path.write_text("t,in,out\n0,100,5\n0.5,2000,20\n1,40,1\n")
    return ["run", str(path), "--map", "arrival=t,input=in,output=out"]
