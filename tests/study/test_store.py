"""The store keeps what was added, belongs to one study and one process, and takes no place of others."""

from pathlib import Path

import pytest

from kvsim.errors import UserError
from kvsim.study.point import Outcome
from kvsim.study.store import FILE, opened


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with opened(folder, "one", 3, resume=False) as store:
        store.add(Outcome(2, "done", "{}"))
        store.add(Outcome(0, "died", "killed"))
    with opened(folder, "one", 3, resume=True) as store:
        store.add(Outcome(0, "mistake", "unknown policy"))
        assert store.outcomes() == [Outcome(0, "mistake", "unknown policy"), Outcome(2, "done", "{}")]


def test_others_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with opened(folder, "one", 3, resume=True) as store:
        store.add(Outcome(1, "done", "{}"))
        with pytest.raises(UserError, match="another sweep is using it"), opened(folder, "one", 3, resume=True):
            pass
    with pytest.raises(UserError, match="holds 1 points of another study"), opened(folder, "two", 3, resume=True):
        pass
    held = "holds 1 of this study's 3 points already; add --resume"
    with pytest.raises(UserError, match=held), opened(folder, "one", 3, resume=False):
        pass


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"no sweep \(has thesis.txt\)"), opened(tmp_path, "one", 1, resume=True):
        pass
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / FILE).write_text("no database, but long enough to be looked at " * 100)
    with pytest.raises(UserError, match="is no store of a sweep"), opened(junk, "one", 1, resume=True):
        pass
    assert (junk / FILE).read_text().startswith("no database")
    with pytest.raises(UserError, match="cannot be written"), opened(tmp_path / "no" / "parent", "one", 1, resume=True):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["junk", FILE, "thesis.txt"]


def test_a_store_that_was_begun_and_never_filled_takes_a_study(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"")  # killed before its tables were there
    with opened(tmp_path, "one", 1, resume=False) as store:
        assert store.outcomes() == []
