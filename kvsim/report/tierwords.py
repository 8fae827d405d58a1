"""What a tier of the cache did for requests, in sentences: when it paid to fetch from it, and how fast it wears."""

from collections.abc import Iterator, Mapping
from typing import Any

from kvsim.engine.serving import Serving
from kvsim.report.words import amount, digits, plural, seconds


def tier_sentences(found: Mapping[str, Any], automatic: bool) -> Iterator[str]:
    """Of one tier's figures in a report. `automatic`: fetch=auto was set."""
    if found["loads"]:
        took = f"{seconds(found['load_s'])} on average; computing would have taken {seconds(found['recompute_s'])}"
        yield f"{plural(found['loads'], 'load')} took {took}"
    if found["slower_loads"]:
        remedy = "" if automatic else ": --set fetch=auto computes when it is"
        yield f"computing would have been faster in {found['slower_loads']:,} of them{remedy}"
    if found["recomputed"]:
        yield f"computed instead, because it was foretold to be faster: {plural(found['recomputed'], 'time')}"
    least = found["worth_from_tokens"]
    if least is None:
        yield "no prefix comes from there before it is computed, however long"
    else:
        yield f"alone on its way, a prefix of {least:,} tokens or more comes before it is computed"
    if found["years_to_wear_out"]:
        a_day, years = digits(found["drive_writes_per_day"]), digits(found["years_to_wear_out"])
        yield f"{a_day} drive writes a day wear it out in {years} years"


def tier_notes(serving: Serving, kinds: list[str]) -> Iterator[str]:
    """What reading a report with tiers below HBM takes for granted. `kinds`: of the machine's tiers that are in use."""
    yield (
        "tiers: a request waits for its blocks outside the batch and holds its room in HBM meanwhile; what HBM gives "
        f"up is written from a buffer of {amount(serving.write_buffer_bytes)} a chip; transfers share links fairly"
    )
    if "nvme" in kinds or "csd" in kinds:
        yield "drives: warranted host writes spread evenly, and as many requests at once as they serve"
    if "remote" in kinds:
        yield "the remote store finds what any replica wrote, and serves every host at its network's full rate"
