"""Opens a report in headless Chromium: every chart is drawn, nothing is fetched, filter, sorting and dark mode work."""

import shutil
import time

import pytest
import tiny_trace

from rewarm.trace import report
from rewarm.trace.captions import FIGURES

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [name for name, found in (("chromium", CHROMIUM), ("chromedriver", DRIVER)) if found is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"needs {' and '.join(MISSING)} (Debian: apt install chromium chromium-driver)"
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1360,1000",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    folder = tmp_path_factory.mktemp("browser")
    report(tiny_trace.write(folder / "trace"), folder / "report.html")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.get((folder / "report.html").as_uri())
        yield driver
    finally:
        driver.quit()


def shown(page, selector):
    return page.execute_script(
        "return [...document.querySelectorAll(arguments[0])].filter(e => e.getBoundingClientRect().height > 0).length", selector
    )


def test_every_figure_is_drawn(page):
    boxes = page.execute_script(
        """return [...document.querySelectorAll('figure')].map(figure => [figure.id,
             [...figure.querySelectorAll('svg[role=img]')].map(svg => {
               const box = svg.getBoundingClientRect();
               const inside = [...svg.querySelectorAll('path, use, text, rect')].filter(e => {
                 const b = e.getBoundingClientRect(); return b.width + b.height > 0; }).length;
               return [box.width, box.height, inside, svg.getAttribute('aria-label').length]; })])"""
    )
    assert {name for name, _ in boxes} == {figure.id for figure in FIGURES}
    for name, drawings in boxes:
        assert drawings, f"{name} has no drawing"
        for width, height, inside, words in drawings:
            assert width > 200, name
            assert height > 80, name
            assert inside > 10, f"{name}: {inside} visible elements"
            assert words > 10, f"{name} has no description"


def test_nothing_is_fetched_and_nothing_complains(page):
    fetched = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    requested = [entry["message"] for entry in page.get_log("performance") if "Network.requestWillBeSent" in entry["message"]]
    assert [message for message in requested if "http://" in message.split('"request":')[-1] or "https://" in message] == []
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def test_region_filter(page):
    box = "input[name=region][value=R5]"
    assert shown(page, "table.numbers tr[data-region=R5]") > 0
    curves = shown(page, "#fig10a [data-region=R5]")
    assert curves > 0
    page.execute_script(f"document.querySelector('{box}').click()")
    assert shown(page, "[data-region=R5]") == 0
    assert shown(page, "#fig10a [data-region=R2]") > 0
    page.execute_script(f"document.querySelector('{box}').click()")
    assert shown(page, "#fig10a [data-region=R5]") == curves


def test_verdict_filter(page):
    everything = shown(page, "#sizes table.numbers tbody tr")
    page.execute_script("document.querySelector('input[name=verdict][value=partial]').click()")
    partial = shown(page, "#sizes table.numbers tbody tr")
    assert 0 < partial < everything
    assert partial == shown(page, "#sizes .badge.partial")
    page.execute_script("document.querySelector('input[name=verdict][value=\"\"]').click()")
    assert shown(page, "#sizes table.numbers tbody tr") == everything


def test_tables_sort(page):
    page.execute_script("document.querySelector('#sizes details').open = true")
    column = (
        "return [...document.querySelectorAll('#sizes table.numbers tbody tr')]"
        ".map(r => r.cells[4].dataset.value).filter(v => v !== '').map(Number)"
    )
    head = "document.querySelectorAll('#sizes table.numbers thead th')[4]"
    before = page.execute_script(column)
    for direction in ("ascending", "descending"):
        page.execute_script(f"{head}.querySelector('button').click()")
        assert page.execute_script(f"return {head}.getAttribute('aria-sort')") == direction
        after = page.execute_script(column)
        assert after == sorted(before, reverse=direction == "descending")
    words = "return [...document.querySelectorAll('#sizes table.numbers tbody tr')].map(r => r.cells[1].textContent)"
    page.execute_script("document.querySelectorAll('#sizes table.numbers thead th')[1].querySelector('button').click()")
    found = page.execute_script(words)
    assert found == sorted(found, key=str.lower)


def test_dark_and_light(page):
    colours = (
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#fig10a [data-region=R2] path')).stroke]"
    )
    light = page.execute_script(colours)
    assert page.find_element("id", "theme").text == "Dark"
    page.find_element("id", "theme").click()
    time.sleep(0.1)
    dark = page.execute_script(colours)
    assert page.find_element("id", "theme").text == "Light"
    assert dark[0] == "rgb(20, 23, 27)"
    assert dark[0] != light[0]
    assert dark[1] != light[1]
    page.find_element("id", "theme").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    page.execute_script("delete document.documentElement.dataset.theme")
    assert page.execute_script(colours) == dark


def test_json_block_is_readable(page):
    block = page.execute_script("return JSON.parse(document.getElementById('rewarm-data').textContent).summary.published")
    assert block > 1000
