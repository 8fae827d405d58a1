"""What is wrong with a page that should need nothing else and be readable by anyone, as far as its text tells."""

import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "link", "br", "hr", "img", "input"}
_FETCHES = ("src", "href", "srcset", "poster", "data", "action", "xlink:href")


class _Outline(HTMLParser):
    """Elements of a page, and where its tags do not match."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str], str]] = []  # name, attributes, the element around it
        self.texts: dict[int, str] = {}
        self.faults: list[str] = []
        self._numbers: list[int] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> repeats an attribute")
        self.elements.append((tag, {name: value or "" for name, value in attrs}, self.open[-1] if self.open else ""))
        if tag not in VOID:
            self.open.append(tag)
            self._numbers.append(len(self.elements) - 1)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self.open[-1:] or 'nothing'}")
            return
        self.open.pop()
        self._numbers.pop()

    def handle_data(self, data: str) -> None:
        for number in self._numbers:
            self.texts[number] = self.texts.get(number, "") + data


def faults(page: str) -> Iterator[str]:
    """Everything wrong, a line each."""
    outline = _Outline()
    outline.feed(page)
    outline.close()
    yield from outline.faults
    if not page.startswith("<!DOCTYPE html>"):
        yield "no doctype"
    if outline.open:
        yield f"never closed: {outline.open}"
    elements = outline.elements
    found = Counter(name for name, _, _ in elements)
    ids = Counter(attributes["id"] for _, attributes, _ in elements if "id" in attributes)
    yield from (f"id {name} is used {many} times" for name, many in ids.items() if many > 1)
    for name in ("html", "head", "body", "main", "h1"):
        if found[name] != 1:
            yield f"{found[name]} elements <{name}>"
    for name in ("script", "iframe", "object", "embed", "form", "base"):
        if found[name]:
            yield f"has a <{name}>"
    levels = [int(name[1]) for name, _, _ in elements if re.fullmatch(r"h[1-6]", name)]
    if levels[:1] != [1] or any(after > before + 1 for before, after in pairwise(levels)):
        yield f"headings out of order: {levels}"
    inside = Counter((around, name) for name, _, around in elements)
    for around, name in (("table", "caption"), ("table", "thead"), ("table", "tbody"), ("figure", "figcaption")):
        if inside[around, name] != found[around]:
            yield f"{found[around]} <{around}>, of them {inside[around, name]} with <{name}>"
    for number, (name, attributes, _) in enumerate(elements):
        text = " ".join(outline.texts.get(number, "").split())
        yield from _element(name, attributes, text, set(ids))
    metas = {
        attributes.get("name"): attributes.get("content", "") for name, attributes, _ in elements if name == "meta"
    }
    if "width=device-width" not in metas.get("viewport", ""):
        yield "no viewport"
    if re.search(r"@import|url\s*\(", page):
        yield "its style sheet fetches something"


def _element(name: str, attributes: dict[str, str], text: str, ids: set[str]) -> Iterator[str]:
    for key in _FETCHES:
        target = attributes.get(key, "#")
        if not target.startswith(("#", "data:")) and not (name == "a" and key == "href"):
            yield f"<{name} {key}> fetches {target}"
    yield from (f"<{name} {key}>: a handler" for key in attributes if key.startswith("on"))
    for key in ("aria-labelledby", "aria-describedby", "for"):
        yield from (f"{key}={one} names nothing" for one in attributes.get(key, "").split() if one not in ids)
    if name == "html" and not attributes.get("lang"):
        yield "no lang"
    if name == "img" and not attributes.get("alt"):
        yield "an <img> without alt"
    named = attributes.get("aria-hidden") == "true" or {"role", "aria-labelledby"} <= set(attributes)
    if name == "svg" and not named:
        yield "an <svg> without a name"
    if name in ("title", "desc", "caption", "figcaption", "h1", "h2", "h3", "li", "dt", "dd", "p") and not text:
        yield f"an empty <{name}>"
    if name == "th" and attributes.get("scope") not in ("row", "col"):
        yield "a <th> without scope"
