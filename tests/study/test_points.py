"""What a study YAML lays out, and what is wrong with one, in one line."""

from pathlib import Path
from typing import Any

import pytest

from kvsim.errors import UserError
from kvsim.study.paths import located, located_papers, located_tokenizer, read_by
from kvsim.study.points import plan

BASE = {"trace": "quickstart", "limit": 5}


def study(**more: Any) -> dict[str, Any]:
    return {"name": "s", "base": dict(BASE), **more}


def test_a_product_turns_its_last_axis_fastest() -> None:
    laid = plan(study(axes={"policy": ["full", "kivi"], "set.max_num_seqs": [8, 16]}))
    assert laid.varied == ("policy", "set.max_num_seqs")
    assert [laid.shown(n) for n in range(4)] == [
        {"policy": policy, "set.max_num_seqs": seqs} for policy in ("full", "kivi") for seqs in (8, 16)
    ]
    assert laid.points[3] == {**BASE, "policy": "kivi", "set": {"max_num_seqs": 16}}


def test_a_zip_takes_the_first_values_together() -> None:
    laid = plan(study(combine="zip", axes={"hw": ["h100", "h100", "l40s"], "replicas": [1, 2, 4]}))
    assert [(p["hw"], p["replicas"]) for p in laid.points] == [("h100", 1), ("h100", 2), ("l40s", 4)]


def test_repeat_counts_seeds_up() -> None:
    laid = plan({"name": "s", "base": {**BASE, "seed": 7}, "axes": {"hw": ["h100", "l40s"]}, "repeat": 3})
    assert [(p["hw"], p["seed"]) for p in laid.points] == [(h, s) for h in ("h100", "l40s") for s in (7, 8, 9)]
    assert laid.varied == ("hw", "seed")


def test_axes_add_to_what_base_sets() -> None:
    laid = plan({"name": "s", "base": {**BASE, "set": {"block_tokens": 32}}, "axes": {"set.max_num_seqs": [8]}})
    assert laid.points == ({**BASE, "set": {"block_tokens": 32, "max_num_seqs": 8}},)


def test_without_axes_there_is_one_point() -> None:
    assert plan(study()).points == (BASE,)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"axes": {"polcy": ["full"]}}, "study: axes: 'polcy' is no option that can vary; there are: trace, hw,"),
    ({"axes": {"set": [1]}}, "'set' is no option that can vary"),
    ({"axes": {"set.": [1]}}, "set. lacks the setting's name"),
    ({"axes": {"hw": []}}, "study: axes.hw: list should have at least 1 item"),
    ({"axes": {"hw": ["h100", "h100"]}}, "hw: a value is listed twice"),
    ({"axes": {"replicas": ["two"]}}, "study: axes: replicas: 'two': replicas: input should be a valid integer"),
    ({"axes": {"until": [60]}}, "until: must be a number with a unit"),
    ({"axes": {"max_context": [1]}}, "max_context: 1: max_context: input should be greater than or equal to 2"),
    ({"axes": {"limit": [3]}}, "limit is both in base and an axis"),
    ({"axes": {"seed": [1]}, "repeat": 2}, "seed can be no axis beside it"),
    ({"combine": "zip", "axes": {"hw": ["h100"], "tp": [1, 2]}}, "equally many values, but hw has 1, tp has 2"),
    ({"axes": {"seed": list(range(400)), "limit": []}}, "axes.limit"),
    ({"repeat": 50_000, "axes": {"hw": ["h100", "l40s", "a6000"]}}, "150,000 points; a study has at most 100,000"),
    ({"base": {"hw": "h100"}}, "study: base: key 'trace' is missing"),
    ({"base": {**BASE, "limits": 3}}, "study: base: unknown key 'limits': did you mean limit"),
    ({"name": "../x"}, "study: name: string should match pattern"),
    ({"axis": {}}, "study: unknown key 'axis': did you mean axes"),
]


@pytest.mark.parametrize(("more", "message"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_mistakes_are_one_line(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as wrong:
        plan(study(**more) | more)
    assert message in str(wrong.value) and "\n" not in str(wrong.value)


def test_paths_are_relative_to_the_study(tmp_path: Path) -> None:
    (tmp_path / "bare").write_text("")
    assert located("h100", tmp_path) == "h100"
    assert located("qwen2.5-7b", tmp_path) == "qwen2.5-7b"
    assert located("./mine.yaml", tmp_path) == str(tmp_path / "mine.yaml")
    assert located("log.csv", tmp_path, trace=True) == str(tmp_path / "log.csv")
    assert located("bare", tmp_path, trace=True) == str(tmp_path / "bare")
    assert located("quickstart", tmp_path, trace=True) == "quickstart"
    assert located_papers("./mine.py:window=8+kivi:bits=4", tmp_path) == f"{tmp_path / 'mine.py'}:window=8+kivi:bits=4"
    (tmp_path / "llama").mkdir()
    assert located_tokenizer("llama", tmp_path) == str(tmp_path / "llama")
    assert located_tokenizer("tokenizer.json", tmp_path) == str(tmp_path / "tokenizer.json")
    for name in ("chars:4", "gpt-3.5-turbo"):
        assert located_tokenizer(name, tmp_path) == name


def test_all_files_that_points_read_are_known(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    for name in ("mine.py", "order.py", "log.csv", "llama/tokenizer.json"):
        (tmp_path / name).write_text("")
    point = {"trace": "log.csv", "hw": "l40s", "policy": "mine.py+kivi", "set": {"prefix_eviction": "order.py"}}
    point["tokenizer"] = "llama"
    read = {path.name for path in read_by([point, {"trace": "gone.csv", "policy": "gone.py"}], tmp_path)}
    assert read >= {"mine.py", "order.py", "log.csv", "tokenizer.json", "l40s.yaml", "h100.yaml", "llama-3-8b.yaml"}
    assert not any(name.startswith("gone") for name in read)
