"""A policy may be a user's own file, named by its path."""

from pathlib import Path

import pytest

import kvsim
from kvsim.errors import UserError
from kvsim.traits.policy import policy

MINE = '''"""Mine."""
from dataclasses import dataclass

from kvsim.traits.encoding import Quantizer
from kvsim.traits.policy import Fidelity, Paper, Traits


@dataclass(frozen=True)
class Mine(Paper):
    """bits: of an element."""

    bits: int = 8

    def traits(self, fidelity: Fidelity) -> Traits:
        """Plain codes."""
        return Traits(quantizer=Quantizer(self.bits))
'''


def test_a_path_names_a_policy(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    found = {bits: kvsim.run("quickstart", policy=f"{path}:bits={bits}", limit=5) for bits in (4, 8, 16)}
    plain = kvsim.run("quickstart", policy="full", limit=5)
    sizes = {bits: report.figures["kv_bytes_per_token"] for bits, report in found.items()}
    whole = plain.figures["kv_bytes_per_token"]
    assert sizes == {4: whole / 4, 8: whole / 2, 16: whole}
    assert policy(f"{path}+snapkv").papers[0] == policy(str(path)).papers[0], "one file is one class"
    path.write_text(MINE.replace("bits: int = 8", "bits: int = 2"))
    assert policy(str(path)).quantizer.bits == 2, "a changed file is read again"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        ("x = 1", "must define one public class, but defines 0"),
        ("class One: ...\nclass Two: ...", "but defines 2"),
        ("\nclass (", ":2: SyntaxError"),
        ("x = 1\ny = 1 / 0", ":2: ZeroDivisionError"),
        ("import nowhere_at_all", ":1: ModuleNotFoundError"),
    ],
)
def test_faults_in_it_are_one_line(tmp_path: Path, text: str | None, says: str) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.py") as caught:
        policy(str(path))
    assert says in str(caught.value) and "\n" not in str(caught.value)
