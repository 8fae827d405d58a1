"""Retrieval: five facts at five depths of a document, each asked for by its own question.

A policy compresses the cache when document and question are read. Then the model writes the answer's first words, which
are given, and is asked for the last: its rank among all tokens and its log-probability. A second question about another
fact follows, for which the policy could not know that it would be asked.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass

from kernels_ref.quality.language import Language
from kernels_ref.quality.texts import TEXTS

DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
DOCUMENT_TOKENS = 1450
NAME = "needles"


@dataclass(frozen=True)
class Fact:
    """A sentence `stem` + `answer`, and what asks for the answer."""

    question: str
    stem: str
    answer: str


FACTS = (
    Fact("What is the password for the north gate?", "The password for the north gate is", "marble"),
    Fact("Where was Professor Quill born?", "Professor Quill was born in the town of", "Oslo"),
    Fact("Which colour was the old lighthouse painted?", "The old lighthouse was painted", "purple"),
    Fact("How many cats does my grandmother keep?", "My grandmother keeps", "seven"),
    Fact("Where is the treasure hidden?", "The treasure is hidden under the", "piano"),
)


@dataclass(frozen=True)
class Asked:
    """Ids: of a question with the answer's opening words, then of the answer."""

    question: tuple[int, ...]
    stem: tuple[int, ...]
    answer: tuple[int, ...]


def document(language: Language, tokens: int = DOCUMENT_TOKENS) -> str:
    """Sentences of the licence, about `tokens` long, with the facts at their depths."""
    paragraphs = [re.sub(r"\s+", " ", part).strip() for part in re.split(r"\n\s*\n", TEXTS["licence"]())]
    sentences, ends = list[str](), [0]  # ends: tokens up to each sentence
    for sentence in (f"{one} " for part in paragraphs for one in re.split(r"(?<=\.) ", part) if len(one) > 3):
        if ends[-1] > tokens:
            break
        sentences.append(sentence)
        ends.append(ends[-1] + len(language.source.encode(sentence)))
    places = [bisect_left(ends, depth * ends[-1]) for depth in DEPTHS]
    for place, fact in reversed(list(zip(places, FACTS, strict=True))):
        sentences.insert(place, f"{fact.stem} {fact.answer}. ")
    return "".join(sentences).rstrip()


def asked(language: Language, fact: Fact) -> Asked:
    """A fact's question as ids."""
    texts = (f"\n\nQuestion: {fact.question}\nAnswer:", f" {fact.stem}", f" {fact.answer}")
    return Asked(*(tuple(language.source.encode(text)) for text in texts))


def second(first: int) -> int:
    """Which fact the second question asks for."""
    return (first + 2) % len(FACTS)
