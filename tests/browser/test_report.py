"""The report in a real browser: from disk, by keyboard, on a phone, in dark mode, without JavaScript and on paper."""

import base64
import io
import json
import re
import unicodedata

import pypdf
import pytest
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By

from tests.browser.conftest import REPORT, resize

pytestmark = pytest.mark.xdist_group("browser")  # one process, since the tests share a browser

SECTIONS = (
    *("results", "curves", "sweeps", "few-shot", "prompts", "calibration", "confusion"),
    *("gallery", "audit", "tokenizers", "networks", "provenance", "limits", "application"),
)

HEADINGS = "return arguments[0].map(id => document.querySelector(`[id='${id}'] :is(h2, h3)`)?.innerText.trim() ?? '')"

# Obstacles to a screen reader; each selector or expression should find nothing.
OBSTACLES = """
const all = selector => [...document.querySelectorAll(selector)];
const ids = all("[id]").map(element => element.id);
return {
  pictures: all("img:not([alt])").length,
  tables: all("table:not([aria-label], [aria-labelledby], :has(> caption))").map(table => table.innerText.slice(0, 80)),
  headers: all("table").filter(table => !table.querySelector("th")).length,
  twice: ids.filter((id, index) => ids.indexOf(id) < index),
  dead: all("a[href^='#']").map(link => link.getAttribute("href")).filter(href => !ids.includes(decodeURIComponent(href.slice(1)))),
};
"""

# Presses each button in the head of each sortable table twice; returns all rows and aria-sort after each press. A cell with a data-value
# is sorted by it.
PRESSED_TWICE = """
return [...document.querySelectorAll("table.sortable")].map(table => {
  const heads = [...table.tHead.querySelectorAll("th")];
  const rows = () => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.dataset.value ?? cell.textContent.trim()));
  const press = button => { button.click(); return {sorts: heads.map(head => head.getAttribute("aria-sort") ?? "none"), rows: rows()}; };
  const buttons = heads.map(head => head.querySelector("button"));
  return {rows: rows(), pressed: buttons.map(button => button && [press(button), press(button)])};
});
"""

# Loads lazy pictures and waits for them.
PICTURES = """
const [pictures, done] = [[...document.querySelectorAll("figure img")], arguments[0]];
pictures.forEach(picture => { picture.loading = "eager"; });
Promise.allSettled(pictures.map(picture => picture.decode()))
  .then(() => done(pictures.map(picture => ({width: picture.naturalWidth, alt: picture.alt.trim(), source: picture.src.slice(0, 80)}))));
"""

# Opens all details; returns the widths, and elements that overflow without a scrolling container. The inside of plots is ignored.
WIDTHS = """
document.querySelectorAll("details").forEach(details => { details.open = true; });
const {clientWidth, scrollWidth} = document.documentElement;
const scrolls = element => element !== document.body && ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
const scrolled = element => element && (scrolls(element) || scrolled(element.parentElement));
const wide = [...document.body.querySelectorAll(":not(svg *)")].filter(element => element.getBoundingClientRect().right > clientWidth + 1);
const out = wide.filter(element => !scrolled(element.parentElement)).map(element => element.outerHTML.slice(0, 120));
return {window: innerWidth, scrolls: scrollWidth > clientWidth, out: out.slice(0, 5)};
"""

COLOURS = """
const styles = [document.body, document.documentElement].map(element => getComputedStyle(element));
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
return [styles[0].color, ...styles.map(style => style.backgroundColor)].map(colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
});
"""


def numbers(cells: list[str]) -> list[float]:
    """Return the numbers at the start of the cells; [] if most cells start with text."""
    found = [match for cell in cells if (match := re.match(r"[-+−]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", cell))]
    return [float(match[0].replace("−", "-").replace(",", "")) for match in found] if len(found) > len(cells) / 2 else []


def contrast(browser: Chrome, scheme: str) -> tuple[float, float]:
    """Return the contrast of text and page by WCAG 2, 1 to 21, and the page's relative luminance, 0 to 1, in a colour scheme."""
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    text, *backgrounds = browser.execute_script(COLOURS)
    opaque = [colour for colour in backgrounds if colour[3]] or [[255, 255, 255, 255]]

    def luminance(colour: list[int]) -> float:
        linear = [part / 255 / 12.92 if part / 255 <= 0.04045 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(text), luminance(opaque[0])))
    return (high + 0.05) / (low + 0.05), luminance(opaque[0])


def squeezed(text: str) -> str:
    """Return the text without white space, ligatures and case, which a PDF may change."""
    return "".join(unicodedata.normalize("NFKC", text).split()).casefold()


def test_it_loads_from_disk_without_warnings_or_requests(page: Chrome) -> None:
    page.execute_async_script("scrollTo(0, document.body.scrollHeight); setTimeout(arguments[0], 500)")  # so that lazy elements load
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("WARNING", "SEVERE")] == []
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    requested = [message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    assert {url for url in requested if not url.startswith("data:")} == {REPORT.as_uri()}


def test_every_section_has_its_own_heading(page: Chrome) -> None:
    headings = dict(zip(SECTIONS, page.execute_script(HEADINGS, SECTIONS), strict=True))
    assert [section for section, heading in headings.items() if not heading] == []
    assert len(set(headings.values())) == len(SECTIONS)


def test_a_screen_reader_can_use_it(page: Chrome) -> None:
    assert page.title
    assert page.find_element(By.TAG_NAME, "html").get_dom_attribute("lang") == "en"
    assert len(page.find_elements(By.TAG_NAME, "h1")) == 1
    assert {obstacle: elements for obstacle, elements in page.execute_script(OBSTACLES).items() if elements} == {}


def test_every_sortable_table_sorts_by_its_columns(page: Chrome) -> None:
    tables = page.execute_script(PRESSED_TWICE)
    assert tables
    for table in tables:
        assert any(table["pressed"])
        for index, states in enumerate(table["pressed"]):
            for state in states or []:
                assert state["sorts"][index] in ("ascending", "descending")
                assert {*state["sorts"][:index], *state["sorts"][index + 1 :]} <= {"none"}
                assert sorted(state["rows"]) == sorted(table["rows"])  # rows move as a whole
                found = numbers([row[index] for row in state["rows"]])
                assert found == sorted(found, reverse=state["sorts"][index] == "descending")
            assert not states or states[0]["sorts"] != states[1]["sorts"]


def test_the_results_sort_by_mouse_and_by_keyboard(page: Chrome) -> None:
    table = page.find_element(By.CSS_SELECTOR, "#results table.sortable")
    heads = table.find_elements(By.CSS_SELECTOR, "thead th")

    def state() -> tuple[list[list[str]], list[str | None]]:
        rows = page.execute_script("return [...arguments[0].tBodies[0].rows].map(row => [...row.cells].map(cell => cell.innerText))", table)
        return rows, [head.get_dom_attribute("aria-sort") for head in heads]

    different = [len(set(column)) for column in zip(*state()[0], strict=True)]
    button = heads[different.index(max(different))].find_element(By.TAG_NAME, "button")  # a column whose two orders differ if any do
    button.click()
    clicked = state()
    button.send_keys(Keys.ENTER)
    entered = state()
    button.send_keys(Keys.SPACE)
    assert page.switch_to.active_element == button  # focus stays on the button
    assert clicked[0] != entered[0]
    assert clicked[1] != entered[1]
    assert state() == clicked


@pytest.mark.parametrize("width", [360, 1280])
def test_the_answer_is_on_the_first_screen(page: Chrome, width: int) -> None:
    resize(page, width)
    answer = page.find_element(By.CSS_SELECTOR, "#results .answer").rect
    assert answer["y"] + answer["height"] <= 800


def test_the_table_is_on_the_first_screen(page: Chrome) -> None:
    table = page.find_element(By.CSS_SELECTOR, "#results table")
    assert table.rect["y"] + table.rect["height"] <= 800
    assert page.execute_script("const box = arguments[0].parentElement; return box.scrollWidth <= box.clientWidth", table)


def test_galleries_show_pictures_with_a_text_for_each(page: Chrome) -> None:
    assert page.find_elements(By.CSS_SELECTOR, "#gallery figure img")
    assert [picture for picture in page.execute_async_script(PICTURES) if not picture["width"] or not picture["alt"]] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_only_containers_scroll_sideways(page: Chrome, width: int) -> None:
    resize(page, width)
    assert page.execute_script(WIDTHS) == {"window": width, "scrolls": False, "out": []}


def test_it_follows_the_colour_scheme(page: Chrome) -> None:
    (light_contrast, light), (dark_contrast, dark) = contrast(page, "light"), contrast(page, "dark")
    assert light > 0.5 > 0.1 > dark
    assert min(light_contrast, dark_contrast) >= 7


def test_tables_are_complete_without_javascript(page: Chrome) -> None:
    tables = page.execute_script("return [...document.querySelectorAll('table')].map(table => table.rows.length)")
    page.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    page.get(REPORT.as_uri())
    found = page.find_elements(By.TAG_NAME, "table")
    assert [len(table.find_elements(By.TAG_NAME, "tr")) for table in found] == tables
    assert page.find_element(By.CSS_SELECTOR, "#results table").is_displayed()


def test_it_prints_with_all_sections(page: Chrome) -> None:
    headings = page.execute_script(HEADINGS, SECTIONS)
    page.execute_script("document.querySelectorAll('nav').forEach(nav => nav.remove())")  # it contains all headings
    paper = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})["data"])
    text = squeezed("".join(sheet.extract_text() for sheet in pypdf.PdfReader(io.BytesIO(paper)).pages))
    for heading in headings:
        _, found, text = text.partition(squeezed(heading))  # in the page's order, since an earlier text may contain a heading's words
        assert found, heading
