"""The report of a run as text that a person reads in one look: sections of aligned lines, at most WIDTH columns."""

import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kvsim.replay import Report
from kvsim.report.labels import GPU_TIME, LANES, LATENCIES, PERCENTILES, TIERS
from kvsim.report.tierwords import tier_sentences
from kvsim.report.words import amount, bar, digits, percent, plural, seconds

WIDTH = 96
_BAR = 24
Style = Callable[[str], str]


def render(report: Report, heading: Style = str, fancy: bool = True) -> str:
    """The report of a run.

    Args:
        heading: dresses a section's name (colours on a terminal). fancy: bars of block characters, not of `#`.
    """
    figures = report.figures
    lines = [*_title(report), ""]
    for name, section in (
        ("latency", _latency(figures)),
        ("traffic", _traffic(figures)),
        ("memory", _memory(report)),
        ("tiers below HBM", _tiers(report)),
        ("what bounded it", _bound(figures, fancy)),
        ("assumed", _assumed(figures)),
    ):
        found = list(section)
        if not found:
            continue
        lines += [heading(name) if name != "latency" else heading(found.pop(0)), *found, ""]
    return "\n".join(line.rstrip() for line in lines[:-1])


def wrapped(text: str, indent: str = "  ", first: str | None = None) -> list[str]:
    """`text` in lines of at most WIDTH columns."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent if first is None else first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _title(report: Report) -> list[str]:
    names, figures = report.names, report.figures
    chips = "" if figures["chips"] == 1 else f" ({figures['replicas']} x {plural(figures['tp'], 'chip')})"
    what = f"{names['trace']} on {names['hw']}{chips}: {names['model']}, policy {names['policy']}"
    return wrapped(f"{what}, serving {names['serving']}", "  ", "")


def _latency(figures: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'latency':<24}" + "".join(f"{name:>12}" for name in PERCENTILES)
    for key, label in LATENCIES.items():
        yield _spread(label, figures[key])
    if sessions := figures["sessions"]:
        yield _spread("whole session", sessions["e2e_s"])


def _spread(label: str, spread: Mapping[str, Any]) -> str:
    return f"  {label:<22}" + "".join(f"{seconds(spread[name]):>12}" for name in PERCENTILES)


def _traffic(figures: Mapping[str, Any]) -> Iterator[str]:
    asked, duration_s = figures["requests"], figures["duration_s"]
    left = "".join(f", {asked[state]:,} still {state}" for state in ("running", "queued") if asked[state])
    rate = f"{digits(asked['completed'] / duration_s)} requests/s" if duration_s else "-"
    yield row("requests", f"{asked['completed']:,} of {asked['injected']:,} completed in {seconds(duration_s)}{left}")
    if sessions := figures["sessions"]:
        yield row("sessions", f"{sessions['completed']:,} of {sessions['count']:,} completed, {figures['loop']} loop")
    for reason, many in figures["rejections"].items():
        yield from wrapped(f"{many:,}: {reason}", " " * 20, row("  rejected", ""))
    prompts = figures["prompt_tokens"] / duration_s if duration_s else None
    output = f"{digits(figures['output_tokens_per_s'])} output tokens/s, {digits(prompts)} prompt tokens/s, {rate}"
    yield row("throughput", output)
    batch = f"{digits(figures['mean_running'])} sequences a step on average, {figures['max_running']:,} at most"
    yield row("batch", f"{batch}; {plural(figures['preemptions'], 'preemption')}")
    yield row("prefix hits", f"{percent(figures['prefix_hit_ratio'])} of prompt tokens")
    usd, joules = figures["usd_per_mtok"], figures["joules_per_token"]
    yield row("cost", f"${digits(usd)} per million output tokens, {digits(joules)} J per output token")


def _memory(report: Report) -> Iterator[str]:
    figures = report.figures
    for tier, peak in figures["peak_bytes"].items():
        whole = figures["capacity_bytes"][tier]
        if peak:
            yield row(
                TIERS.get(tier, tier), f"{amount(peak)} at most of {amount(whole)} a chip ({percent(peak / whole)})"
            )
    home = report.simulation.layout.policy.placement.home
    terms = {name: term for name, term in figures["capacity_terms"].items() if term}
    yield row("cache", f"{digits(figures['kv_bytes_per_token'])} bytes a token of context, in {TIERS.get(home, home)}")
    room = f"{figures['kv_capacity_tokens']:,} tokens fit in a replica; a chip's HBM has room for"
    yield row("", f"{room} {amount(figures['pool_bytes']['hbm'])}:")
    width = max(len(name) for name in terms)
    for name, term in terms.items():
        yield row("", f"  {name:<{width}} {term / 1e9:+9.2f} GB")
    if home != "hbm":
        yield row("", f"{TIERS.get(home, home)} has room for {amount(figures['pool_bytes'][home])} a chip")
    if figures["wear"]["years_to_wear_out"]:
        a_day, years = digits(figures["wear"]["drive_writes_per_day"]), digits(figures["wear"]["years_to_wear_out"])
        yield row("", f"new cache, {a_day} drive writes a day, wears it out in {years} years")


def _tiers(report: Report) -> Iterator[str]:
    figures, automatic = report.figures, report.simulation.serving.fetch == "auto"
    prompts = figures["prompt_tokens"]
    for name, found in figures["tiers"].items():
        share = percent(found["hit_tokens"] / prompts if prompts else None)
        moved = f"{amount(found['read_bytes'])} read, {amount(found['written_bytes'])} written"
        lost = f", {amount(found['dropped_bytes'])} found no room" if found["dropped_bytes"] else ""
        yield row(TIERS.get(name, name), f"{share} of prompt tokens; {moved}{lost}")
        for told in tier_sentences(found, automatic):
            yield from wrapped(told, " " * 18, row("", ""))


def _bound(figures: Mapping[str, Any], fancy: bool) -> Iterator[str]:
    moved = figures["bytes_moved"]
    for lane, share in figures["busy"].items():
        if lane in moved and not moved[lane]:
            continue
        carried = f"  {amount(moved[lane])}" if lane in moved else ""
        yield row(LANES[lane], f"{bar(share, _BAR, fancy)} {percent(share):>7}{carried}")
    shares = [f"{GPU_TIME[work]} {percent(share)}" for work, share in figures["gpu_time"].items() if share >= 0.01]
    if shares:
        yield from wrapped(f"{', '.join(shares)} (estimate)", " " * 18, row("GPU time", ""))
    yield from wrapped(figures["bound"])


def _assumed(figures: Mapping[str, Any]) -> Iterator[str]:
    for note in figures["assumptions"]:
        yield from wrapped(note, "    ", "  - ")


def row(label: str, value: str) -> str:
    """A labelled line of a section."""
    return f"  {label:<16}{value}"
