"""HTML and SVG as text. Text becomes markup only through `tag` and `joined`, which escape what is not `Html` yet."""

from html import escape

_VOID = ("link", "meta")


class Html(str):
    """Markup: text in which everything that came from outside is escaped."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | float | None) -> Html:
    """An element; children that are not `Html` are escaped.

    Args:
        attributes: `class_` is class, `aria_label` is aria-label; None leaves one out; floats are written short.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{said}>")
    return Html(f"<{name}{said}>{joined(*children)}</{name}>")


def joined(*children: str) -> Html:
    """Elements and texts one after the other, texts escaped."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def short(value: float) -> str:
    """A coordinate: at most one decimal, the same on every machine."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else short(value)
