"""The page of results is that of the committed file."""

from kernels_ref.quality import page, table
from kernels_ref.quality.row import Row


def row(policy: str, budget: float | None, error: float, text: str = "docs") -> Row:
    return Row(policy, budget, policy, text, "", "stored", True, 0.2, 0.2, 9.0, error, kept_mass=0.9, kl=0.5)


def test_the_page_says_what_was_measured():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written(text, table.read(page.RESULTS)) == text


def test_the_worst_come_first_and_what_has_no_middle_comes_apart():
    rows = [
        row("a", 0.25, 0.1),
        row("b", 0.25, 0.3),
        row("b", 0.25, 0.1, "code"),
        row("c", None, 0.7),
        row("a", 0.5, 0.05),
    ]
    main, other = list(page.main_table(rows)), list(page.other_table(rows))
    assert [line.split(" | ")[0] for line in main[2:]] == ["| b", "| a"]
    assert "| 0.050 | 0.100 |  |" in main[3] and "0.100 to 0.300 (2)" in main[2]
    assert [line.split(" | ")[0] for line in other[2:]] == ["| c"]


def test_every_policy_is_in_the_results():
    from kvsim import find

    assert set(find.paper_names("kv")) <= {row.policy for row in table.read(page.RESULTS)}


def test_labels_move_apart_around_where_they_were():
    assert page.apart([0.0, 5.0, 0.1], 1.0) == [-0.45, 5.0, 0.55]
    assert page.apart([3.0], 1.0) == [3.0]
