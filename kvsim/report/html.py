"""A run's page: `report.html`. The answer first, then how it came about; no script, nothing fetched, no time stamp."""

from collections.abc import Iterator, Mapping
from typing import Any

from kvsim.replay import Report
from kvsim.report import runcharts, slow
from kvsim.report.charts import bar_chart
from kvsim.report.labels import GPU_TIME, LANES, LATENCIES, PERCENTILES, TIERS
from kvsim.report.markup import Html
from kvsim.report.page import answer, beside, bullets, command, entry, figure, figures, page, paragraph, section, table
from kvsim.report.record import Record
from kvsim.report.tierwords import tier_sentences
from kvsim.report.words import amount, capital, digits, percent, plural, seconds

_SHOWN = (0.5, 0.99)
_SPENT = {"prefill": "in prefill", "decode": "in decode", "read again": "being read again"}


def run_page(report: Report, record: Record, provenance: Mapping[str, Any]) -> str:
    """The page of a run that `record` watched.

    Args:
        provenance: of the run, with the command and the hashes of what was read.
    """
    names = report.names
    title = f"{names['trace']} on {names['hw']}, policy {names['policy']}"
    sections = [_answer(report, title, provenance)]
    if report.figures["requests"]["completed"]:
        sections.append(_latency(report))
    if record.tracks:
        sections += [_memory(report, record), _hardware(report, record)]
    if report.figures["requests"]["completed"]:
        sections.append(_slow(report, record))
    if report.figures["tiers"]:
        sections.append(_tiers(report))
    sections += [_assumed(report), origin_section(provenance)]
    return page(title, *sections, foot=f"Made by kvsim {provenance['kvsim']}. All figures are of a simulation.")


def _answer(report: Report, title: str, provenance: Mapping[str, Any]) -> Html:
    found, names = report.figures, report.names
    asked, late = found["requests"], found["ttft_s"]["p99"]
    chips = "" if found["chips"] == 1 else f", {found['replicas']} x {plural(found['tp'], 'chip')}"
    about = f"{names['model']}, serving {names['serving']}{chips}, {found['loop']} loop"
    sentence = f"{asked['completed']:,} of {asked['injected']:,} requests were completed"
    if late is not None:
        sentence += (
            f": 99 % of them saw their first token within {seconds(late)}, and all of them together "
            f"{digits(found['output_tokens_per_s'])} output tokens a second, at "
            f"${digits(found['usd_per_mtok'])} per million"
        )
    more = [found["bound"]] + [f"Rejected: {many:,}: {reason}." for reason, many in found["rejections"].items()]
    return answer(title, about, f"{sentence}.", [*more, _sure(provenance)], list(_cards(found)) if late else [])


def _sure(provenance: Mapping[str, Any]) -> str:
    error = provenance.get("expected_error")
    return "" if error is None else f"Expect ±{error:.0%} on seconds; compare policies rather than trust one figure."


def _cards(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for key in ("ttft_s", "tpot_s", "e2e_s"):
        name = LATENCIES[key]
        yield f"{name}, p99", seconds(found[key]["p99"]), f"half of them {seconds(found[key]['p50'])}"
    yield "output tokens a second", digits(found["output_tokens_per_s"]), f"in {seconds(found['duration_s'])}"
    yield (
        "per million output tokens",
        f"${digits(found['usd_per_mtok'])}",
        f"{digits(found['joules_per_token'])} J a token",
    )
    peak, whole = found["peak_bytes"]["hbm"], found["capacity_bytes"]["hbm"]
    yield "HBM at its fullest", percent(peak / whole), f"{amount(peak)} of {amount(whole)} a chip"
    yield "cache of a token", amount(found["kv_bytes_per_token"]), f"{found['kv_capacity_tokens']:,} tokens fit"
    yield (
        "prompt tokens cached",
        percent(found["prefix_hit_ratio"]),
        f"of {found['prompt_tokens']:,} were there already",
    )


def _latency(report: Report) -> Html:
    found = report.figures
    spreads = [(label, found[key]) for key, label in LATENCIES.items()]
    if found["sessions"]:
        spreads.append(("whole session", found["sessions"]["e2e_s"]))
    rows = [(label, *(seconds(spread[name]) for name in PERCENTILES)) for label, spread in spreads]
    header = ("", *PERCENTILES)
    caption = f"Latencies of {plural(found['requests']['completed'], 'completed request')}"
    spread = table("latencies", caption, header, rows)
    return section("latency", "How long requests take", beside(runcharts.latencies(report), spread))


def _memory(report: Report, record: Record) -> Html:
    found = report.figures
    tiers = [
        (
            TIERS.get(tier, tier),
            amount(peak),
            amount(found["capacity_bytes"][tier]),
            percent(peak / found["capacity_bytes"][tier]),
        )
        for tier, peak in found["peak_bytes"].items()
        if peak
    ]
    terms = [(name, f"{term / 1e9:+.2f} GB") for name, term in found["capacity_terms"].items() if term]
    terms.append(("room for the cache", f"{found['pool_bytes']['hbm'] / 1e9:+.2f} GB"))
    home = report.simulation.layout.policy.placement.home
    home = TIERS.get(home, home)
    return section(
        "memory",
        "What memory holds",
        paragraph(
            f"The cache is at home in {home}: {digits(found['kv_bytes_per_token'])} bytes a token of context, "
            f"{found['kv_capacity_tokens']:,} tokens fit in a replica. Running short of room led to "
            f"{plural(found['preemptions'], 'preemption')}."
        ),
        figures(*runcharts.memory(report, record)),
        beside(
            table("room", "A chip's HBM, and what is left for the cache", ("", "bytes"), terms),
            table("tiers", "Memory by tier, one chip", ("", "at most", "of", "share"), tiers),
        ),
    )


def _tiers(report: Report) -> Html:
    found, automatic = report.figures, report.simulation.serving.fetch == "auto"
    header = ("", "prompt tokens found", "read", "written", "given up", "found no room")
    kinds = ("read_bytes", "written_bytes", "evicted_bytes", "dropped_bytes")
    rows, says = [], []
    for name, tier in found["tiers"].items():
        label = TIERS.get(name, name)
        share = tier["hit_tokens"] / found["prompt_tokens"] if found["prompt_tokens"] else None
        rows.append((label, percent(share), *(amount(tier[key]) for key in kinds)))
        says += [f"{capital(label)}: {told}." for told in tier_sentences(tier, automatic)]
    parts = table("below", "Copies of cached prefixes in tiers below HBM", header, rows)
    return section("below-hbm", "What tiers below HBM were good for", parts, bullets(says))


def _hardware(report: Report, record: Record) -> Html:
    found = report.figures
    moved = found["bytes_moved"]
    rows = [
        (LANES[lane], percent(share), amount(moved[lane]) if lane in moved else "-")
        for lane, share in found["busy"].items()
    ]
    tables = [table("lanes", "Lanes, over the whole run", ("", "busy", "bytes moved"), rows)]
    if found["gpu_time"]:
        shares = [(GPU_TIME[work], percent(share)) for work, share in found["gpu_time"].items()]
        tables.append(table("gpu-time", "The GPU's time, by estimate", ("", "share"), shares))
    drawn = figures(runcharts.lanes(report, record), runcharts.batch(report, record))
    return section("hardware", "What the hardware did", drawn, beside(*tables))


def _slow(report: Report, record: Record) -> Html:
    run, away = report.simulation, record.away
    median, late = slow.by_rank(run, away, _SHOWN)
    part, share = max(zip(slow.PARTS, late.parts_s, strict=True), key=lambda pair: pair[1])
    where = _SPENT.get(part, part)
    says = f"A slow request (p99) spends {percent(share / late.e2e_s)} of its {seconds(late.e2e_s)} {where}"
    rows = [
        ("half are no slower than this one (p50)", median.parts_s),
        ("99 % are no slower than this one (p99)", late.parts_s),
    ]
    about = f"Request {late.number}: " + ", ".join(
        f"{name} {seconds(spent)}" for name, spent in zip(slow.PARTS, late.parts_s, strict=True) if spent > 0
    )
    used = [look for look in range(len(slow.PARTS)) if median.parts_s[look] > 0 or late.parts_s[look] > 0]
    chart = bar_chart("slow-chart", "A usual and a slow request", f"{about}.", rows, seconds)
    legend = [entry(slow.PARTS[look], look + 1, True) for look in used]
    header = ("request", "end to end", *(slow.PARTS[look] for look in used), "prompt tokens", "output tokens")
    ten = [
        (
            f"{one.number:,}",
            seconds(one.e2e_s),
            *(seconds(one.parts_s[look]) for look in used),
            f"{one.prompt_tokens:,}",
            f"{one.output_tokens:,}",
        )
        for one in slow.slowest(run, away)
    ]
    return section(
        "slow",
        "Where a slow request's time went",
        figure("slow-figure", says, chart, legend),
        table("slowest", f"The {len(ten)} slowest requests, by number in the trace", header, ten),
    )


def _assumed(report: Report) -> Html:
    return section("assumed", "What was assumed", bullets(report.figures["assumptions"]))


def origin_section(provenance: Mapping[str, Any]) -> Html:
    """Where a page's figures come from: program, kind of rates, command, and hashes of what was read."""
    hashes = [
        (f"{kind}: {name}", digest) for kind, files in provenance["sha256"].items() for name, digest in files.items()
    ]
    rates = f", kernel rates: {provenance['rates']}" if "rates" in provenance else ""
    return section(
        "provenance",
        "Where it comes from, and how to run it again",
        paragraph(f"kvsim {provenance['kvsim']}{rates}."),
        command(provenance["command"]),
        table("files", "Files that were read", ("file", "SHA-256"), hashes, {0: "code", 1: "code"}),
    )
