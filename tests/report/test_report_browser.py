"""`report.html` in a real browser: chromium and its driver, through selenium. Skipped where they are missing."""

import base64
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import kvsim
from kvsim.report.comparehtml import compare_page
from kvsim.report.folder import write_report
from kvsim.report.record import Record
from kvsim.traces.open import open_trace

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NASTY = "<script>alert('x')</script><img src=http://example.com/x.png> a_name_without_any_place_to_break_it" * 2

# Every text on the page: its colour, what is behind it, its size.
TEXTS = """
const rgb = text => text.match(/[\\d.]+/g).map(Number);
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
while (walker.nextNode()) {
  const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
  if (!text || ["title", "desc"].includes(element.tagName)) continue;
  const style = getComputedStyle(element);
  let behind = element, under = [0, 0, 0, 0];
  while (behind && (under.length === 4 && under[3] === 0)) {
    under = rgb(getComputedStyle(behind).backgroundColor); behind = behind.parentElement;
  }
  found.push([text, rgb(element.ownerSVGElement ? style.fill : style.color), under, parseFloat(style.fontSize)]);
}
return found;
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser that logs its console and its requests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no chromium and chromedriver on the path (Debian: apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # chromium refuses root with it
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chromium
    chromium.quit()


@pytest.fixture(scope="module", params=["offloaded", "preempting", "nothing ran", "compared"])
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run: with a nasty name, with preemptions on two replicas, without any request; of a comparison."""
    if request.param == "compared":
        found = kvsim.compare("quickstart", hw="h100,l40s,a100-80", policy="full,kivi,headinfer", limit=40, workers=1)
        origin = {
            "kvsim": kvsim.__version__,
            "command": "kvsim compare quickstart",
            "sha256": {"trace": {NASTY: "ab" * 32}},
        }
        path = tmp_path_factory.mktemp("page") / "report.html"
        path.write_text(compare_page(replace(found, trace=NASTY), origin))
        return path
    options: dict[str, Any] = {
        "offloaded": {"policy": "headinfer"},
        "preempting": {"policy": "full", "replicas": 2, "settings": {"kv_blocks": 500}},
        "nothing ran": {"settings": {"max_model_len": 1}},
    }[request.param]
    trace, _ = open_trace("quickstart", limit=80)
    record, folder = Record(), tmp_path_factory.mktemp("page") / "out"
    report = kvsim.run(replace(trace, name=NASTY), observers=(record,), **options)
    write_report(report, record, folder, "quickstart", "kvsim run quickstart --out here")
    return folder / "report.html"


def _open(browser: Any, page: Path, width: int = 1100, scheme: str = "light", media: str = "screen") -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.get(page.as_uri())


def test_it_opens_without_errors_and_asks_for_nothing(browser: Any, page: Path) -> None:
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # what came before
    _open(browser, page)
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]


def _read_aloud(browser: Any, roles: dict[str, int]) -> list[tuple[str, str]]:
    """Role and name of all that a screen reader meets, once there are as many of `roles` as expected, or 5 s later."""
    for _ in range(50):
        nodes = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        ]
        if all(sum(role == one for one, _ in found) == many for role, many in roles.items()):
            break
        time.sleep(0.1)  # the tree is built a little later than the page
    return found


def test_what_is_read_aloud_has_names(browser: Any, page: Path) -> None:
    _open(browser, page)
    charts = browser.execute_script("return document.querySelectorAll('svg.chart').length")
    tables = browser.execute_script("return document.querySelectorAll('table').length")
    named = _read_aloud(browser, {"image": charts, "table": tables})
    roles = [role for role, _ in named]
    assert (roles.count("image"), roles.count("table")) == (charts, tables)
    assert roles.count("columnheader") >= tables and roles.count("rowheader") >= tables
    for role, name in named:
        if role in ("image", "table", "figure", "region", "heading"):
            assert name.strip(), role
    levels = browser.execute_script("return [...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and set(levels[1:]) == {2}


@pytest.mark.parametrize(("scheme", "media"), [("light", "screen"), ("dark", "screen"), ("dark", "print")])
def test_text_stands_out(browser: Any, page: Path, scheme: str, media: str) -> None:
    _open(browser, page, scheme=scheme, media=media)
    texts = browser.execute_script(TEXTS)
    assert len(texts) > 20
    for text, ink, under, size in texts:
        under = under[:3] if len(under) == 3 or under[3] else [255, 255, 255]
        assert _contrast(ink[:3], under) >= 4.5, (text, ink, under)
        assert size >= (9.3 if media == "print" else 12), (text, size)


def _contrast(one: list[float], two: list[float]) -> float:
    """The ratio that WCAG 2 defines, of two sRGB colours."""
    lights = []
    for colour in (one, two):
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert _contrast([0, 0, 0], [255, 255, 255]) == pytest.approx(21)
    assert _contrast([118, 118, 118], [255, 255, 255]) == pytest.approx(4.54, abs=0.005)


@pytest.mark.parametrize("width", [320, 360, 768, 1400])
def test_nothing_runs_off_the_side(browser: Any, page: Path, width: int) -> None:
    _open(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = """return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
        && e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"""
    assert browser.execute_script(wide) == []


def test_labels_of_a_chart_do_not_touch_on_a_phone(browser: Any, page: Path) -> None:
    _open(browser, page, 360)
    touching = """
    const found = [];
    for (const svg of document.querySelectorAll('svg.chart')) {
      const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
      boxes.forEach(([a, p], i) => boxes.slice(i + 1).forEach(([b, q]) => {
        if (p.right > q.left && q.right > p.left && p.bottom - 4 > q.top && q.bottom - 4 > p.top) found.push([a, b]);
      }));
      boxes.forEach(([a, p]) => { if (p.left < 0 || p.right > innerWidth) found.push([a, 'the edge']); });
    }
    return found;"""
    assert browser.execute_script(touching) == []


def test_it_prints(browser: Any, page: Path) -> None:
    from selenium.common.exceptions import WebDriverException

    _open(browser, page, media="")
    paper = {"paperWidth": 8.27, "paperHeight": 11.69}
    try:
        answer = browser.execute_cdp_cmd("Page.printToPDF", paper)
    except WebDriverException as failed:  # a busy machine's browser sometimes cannot print: once more
        assert "Printing failed" in str(failed)
        answer = browser.execute_cdp_cmd("Page.printToPDF", paper)
    printed = base64.b64decode(answer["data"])
    assert printed.startswith(b"%PDF-") and 1 <= printed.count(b"/Type /Page\n") <= 6
