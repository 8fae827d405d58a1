"""A page's parts: one HTML file that needs nothing else, opens offline, prints, and reads aloud in order.

A report is `page(title, *sections)`. Whatever a part is given as plain text is escaped (see `kvsim.report.markup`).
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kvsim.report.charts import swatch
from kvsim.report.markup import Html, joined, tag

# The page may use its own styles, and nothing from anywhere else; no script runs in it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SHORT = 15  # rows of a table that a printed page holds whole


def page(title: str, *sections: Html, foot: str) -> str:
    """The whole file.

    Args:
        sections: the answer first. foot: what made the page.
    """
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(style)),
    )
    body = tag("body", tag("main", *sections), tag("footer", tag("p", foot)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def answer(title: str, about: str, sentences: str, more: Iterable[str], cards: Sequence[tuple[str, str, str]]) -> Html:
    """The top of a page: what was asked, the answer, and its key figures as (name, value, note)."""
    figures = [
        tag("div", tag("dt", name), tag("dd", value, class_="value"), tag("dd", note, class_="note"))
        for name, value, note in cards
    ]
    return tag(
        "header",
        tag("h1", title),
        tag("p", about, class_="about"),
        tag("p", sentences, class_="answer"),
        *[tag("p", text) for text in more],
        tag("dl", *figures, class_="cards") if figures else Html(),
    )


def section(key: str, heading: str, *parts: str) -> Html:
    """A section under a heading; `key` is its anchor."""
    return tag("section", tag("h2", heading, id=key), *parts, aria_labelledby=key)


def figure(key: str, says: str, chart: Html, legend: Sequence[Html] = (), across: str = "", up: str = "") -> Html:
    """A chart under the sentence that it shows, with a legend where it shows several things, and what its axes are."""
    parts = [tag("figcaption", says, id=f"{key}-says")]
    parts += [tag("p", up, class_="axis")] if up else []
    parts += [chart]
    parts += [tag("p", across, class_="axis across")] if across else []
    parts += [tag("ul", *legend, class_="legend")] if legend else []
    return tag("figure", *parts, id=key, aria_labelledby=f"{key}-says")


def figures(*drawn: Html) -> Html:
    """Figures side by side where there is room, their plots in line."""
    return tag("div", *drawn, class_="figures")


def beside(*parts: Html) -> Html:
    """Parts of any height side by side where there is room."""
    return tag("div", *parts, class_="beside")


def entry(name: str, look: int, filled: bool = False) -> Html:
    """A line of a legend."""
    return tag("li", swatch(look, filled), name)


def table(
    key: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], looks: Mapping[int, str] | None = None
) -> Html:
    """A table whose first column names its rows; it scrolls inside itself where the screen is narrow.

    Args:
        header: of each column. looks: of columns, from 0 on, that hold no figures: "text", or "code" that may break
            anywhere.
    """
    styles = [(looks or {}).get(column) for column in range(len(header))]
    top = [tag("th", name, scope="col", class_=look) for name, look in zip(header, styles, strict=True)]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", class_=styles[0]),
            *[tag("td", cell, class_=look) for cell, look in zip(row[1:], styles[1:], strict=True)],
        )
        for row in rows
    ]
    whole = tag("table", tag("caption", caption, id=key), tag("thead", tag("tr", *top)), tag("tbody", *body))
    look = "scroll short" if len(body) <= _SHORT else "scroll"
    return tag("div", whole, class_=look, role="region", aria_labelledby=key, tabindex="0")


def bullets(texts: Iterable[str]) -> Html:
    """A list of sentences."""
    return tag("ul", *[tag("li", text) for text in texts])


def command(text: str) -> Html:
    """What to type, whole, wrapped where the screen is narrow."""
    return tag("pre", tag("code", text))


def paragraph(*texts: str) -> Html:
    """A paragraph."""
    return tag("p", joined(*texts))
