"""Texts, and facts at their depths."""

import pytest

from kernels_ref.quality.needles import DEPTHS, FACTS, asked, document, second
from kernels_ref.quality.texts import TEXTS, calibration, passage
from kvsim.errors import UserError
from tests.kernels_ref.quality.tiny import language


def test_every_text_is_here_and_unlike_the_others():
    tiny = language()
    found = {name: passage(tiny, name, 1000, 64) for name in TEXTS}
    assert len({one.digest for one in found.values()}) == len(TEXTS) == 3
    assert all((len(one.prompt), len(one.following)) == (1000, 65) for one in found.values())
    assert calibration(tiny, 500) not in {one.prompt[:500] for one in found.values()}


def test_a_file_is_a_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("0123456789" * 20)
    found = passage(language(), str(path), 100, 10)
    assert bytes(found.prompt[:12]) == b"012345678901" and found.name == "mine.txt"
    with pytest.raises(UserError, match=r"must have 301 tokens .* but has 200"):
        passage(language(), str(path), 290, 10)
    with pytest.raises(UserError, match="no such file, and none of licence, docs, code"):
        passage(language(), "mine.text", 100, 10)


def test_facts_lie_at_their_depths_and_their_questions_do_not_tell():
    text = document(language(), 6000)
    for depth, fact in zip(DEPTHS, FACTS, strict=True):
        sentence = f"{fact.stem} {fact.answer}. "
        assert text.count(sentence) == 1
        assert text.index(sentence) / len(text) == pytest.approx(depth, abs=0.05)
        assert fact.answer not in fact.question + fact.stem
    assert sorted(second(i) for i in range(5)) == list(range(5)) and all(second(i) != i for i in range(5))
    assert bytes(asked(language(), FACTS[1]).stem).decode() == " Professor Quill was born in the town of"
