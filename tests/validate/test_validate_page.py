"""docs/validation.md shows the committed residuals."""

from kvsim import find
from kvsim.report.words import percent


def test_the_page_shows_what_is_committed() -> None:
    page = (find.ROOT / "docs/validation.md").read_text()
    for name in find.names("hardware/calibration"):
        if find.calibrated(name).lender:
            continue
        for one in find.calibrated(name).calibration.curves:
            if one.measured_on:
                continue
            for label, found in ((one.op, one.held_out), (f"{one.op}, n and k >= 512", one.held_out_512)):
                if found:
                    figures = f"{found.rows:,} | {percent(found.median)} | {percent(found.p90)}"
                    assert f"| {name} | {label} | {one.dtype} | {figures} |" in page
