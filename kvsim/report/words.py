"""Figures as people read them: three digits and a unit that fits. SI floats in, text out; None gives a dash."""

_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNTS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"))
_EIGHTHS = "█▏▎▍▌▋▊▉"


def seconds(value: float | None) -> str:
    """1.234 -> "1.23 s", 0.0123 -> "12.3 ms", 4000 -> "4,000 s"."""
    if value is None:
        return "-"
    for factor, unit in _SECONDS:
        if abs(value) >= 0.9995 * factor:
            return f"{digits(value / factor)} {unit}"
    return f"{digits(value / 1e-6)} us" if value else "0 s"


def round_seconds(value: float) -> str:
    """An axis's ticks: 100 us, 10 ms, 1 s, 1,000 s."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= 0.999 * factor:
            return f"{value / factor:,.0f} {unit}"
    return f"{value * 1e6:,.0f} us"


def amount(value: float | None) -> str:
    """Bytes: 85.5e9 -> "85.5 GB"."""
    return "-" if value is None else _scaled(value, _BYTES, "B")


def count(value: float | None, unit: str = "") -> str:
    """FLOPs, FLOP/s, parameters: 8.03e9 -> "8.03 G"."""
    return "-" if value is None else _scaled(value, _COUNTS, "", unit)


def percent(share: float | None) -> str:
    """0.8765 -> "87.7 %", 0.01234 -> "1.2 %"."""
    if share is None:
        return "-"
    return f"{share:.0%}".replace("%", " %") if share >= 0.995 else f"{share:.1%}".replace("%", " %")


def digits(value: float | None) -> str:
    """Three significant digits without an exponent, thousands set apart: 0.0123, 1.23, 12.3, 123, 12,345."""
    if value is None:
        return "-"
    size = abs(value)
    if size >= 99.95:
        return f"{value:,.0f}"
    if size >= 9.995:
        return f"{value:.1f}"
    if size >= 0.9995 or size == 0:
        return f"{value:.2f}"
    return f"{value:.3g}"


def plural(many: int, noun: str) -> str:
    """1 -> "1 step", 1234 -> "1,234 steps"."""
    return f"{many:,} {noun}{'' if many == 1 else 's'}"


def capital(text: str) -> str:
    """The first letter large, as at a sentence's beginning; others as they are."""
    return text[:1].upper() + text[1:]


def bar(share: float, width: int, fancy: bool = True) -> str:
    """A bar of at most `width` columns, by eighths of a column if `fancy`, padded with blanks."""
    share = min(max(share, 0.0), 1.0)
    if not fancy:
        return ("#" * round(share * width)).ljust(width)
    eighths = round(share * width * 8)
    full, rest = divmod(eighths, 8)
    return (_EIGHTHS[0] * full + (_EIGHTHS[rest] if rest else "")).ljust(width)


def _scaled(value: float, scale: tuple[tuple[float, str], ...], one: str, unit: str = "") -> str:
    for factor, prefix in scale:
        if abs(value) >= 0.9995 * factor:
            return f"{digits(value / factor)} {prefix}{unit}"
    return f"{value:,.0f} {one}{unit}".rstrip()
