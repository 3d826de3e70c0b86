"""The page in a browser: what it shows, what a user can do with it, and that it asks nobody for anything."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from models_here import kinds
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait
from synthetic import encoder_decoder, language_model, large, vision_language_model

from regard.cli import _load
from regard.report.data import Scan
from regard.report.scan import scan
from regard.report.scan_page import page

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")

SCANS = {
    "language": language_model, "vision": vision_language_model, "translation": encoder_decoder, "large": large,
}  # fmt: skip
FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "disable-dev-shm-usage", "window-size=1240,1000",
)  # fmt: skip


class Browser:
    """A page in Chromium, and what is asked of it."""

    def __init__(self, driver: webdriver.Chrome, pages: Path, downloads: Path) -> None:
        self.driver, self.pages, self.downloads = driver, pages, downloads

    def open(self, name: str, address: str = "") -> None:
        """Open a page afresh."""
        self.driver.get("about:blank")
        self.driver.get(f"{(self.pages / f'{name}.html').as_uri()}{address}")

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return [element for element in self.driver.find_elements(By.CSS_SELECTOR, selector) if element.is_displayed()]

    def click(self, selector: str) -> None:
        """Click the first that is shown, in the middle of the window."""
        found = self.all(selector)[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def run(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")

    def hash(self) -> str:
        return self.run("location.hash")

    def card(self) -> str:
        """What the open card says; empty where none is open."""
        found = self.all("#card[open]")
        return found[0].text if found else ""

    def saved(self, name: str) -> str:
        """The file that the page has just saved."""
        path = self.downloads / name
        # An empty file of that name holds the place until the download, which has another name, is moved onto it.
        WebDriverWait(self.driver, 10).until(lambda _: path.exists() and path.stat().st_size > 0)
        content = path.read_text(encoding="utf-8")
        path.unlink()
        return content

    def log(self) -> list[dict[str, Any]]:
        return self.driver.get_log("browser")

    def requests(self) -> list[str]:
        """What was asked for over any network or from any file, the page itself among it."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [message for message in messages if message["method"] == "Network.requestWillBeSent"]
        return [message["params"]["request"]["url"].split("#")[0][:60] for message in sent]

    def emulate(self, command: str, values: dict[str, Any]) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{command}", values)


@pytest.fixture(scope="module")
def scans() -> dict[str, Scan]:
    return {name: make() for name, make in SCANS.items()}


@pytest.fixture(scope="module")
def measured() -> dict[str, Scan]:
    """Scans of models: the packaged MiniLM, and a small Llama, encoder-decoder and LLaVA."""
    from transformers import AutoModel, AutoTokenizer

    folder = _load.demo_model()[1]
    mini = (AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder), {"given": _load.sample()})
    some = {"minilm": mini} | {name: kinds()[name] for name in ("decoder", "pair", "vlm")}
    return {name: scan(model, processor, **given, name=name) for name, (model, processor, given) in some.items()}


@pytest.fixture(scope="module")
def started(
    scans: dict[str, Scan], measured: dict[str, Scan], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Chromium with every page written."""
    folder = tmp_path_factory.mktemp("pages")
    for name, one in (scans | measured).items():
        page(one).save(folder / f"{name}.html")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    downloads = tmp_path_factory.mktemp("downloads")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield Browser(driver, folder, downloads)
    driver.quit()


@pytest.fixture
def browser(started: Browser) -> Iterator[Browser]:
    """The browser as it is at first; whatever a test does must leave no word in its console."""
    started.emulate("setEmulatedMedia", {"media": "", "features": []})
    started.emulate("clearDeviceMetricsOverride", {})
    started.log()
    yield started
    assert started.log() == []


@pytest.mark.parametrize("name", SCANS)
def test_a_page_opens_and_asks_for_nothing(browser: Browser, name: str) -> None:
    browser.driver.get("about:blank")
    browser.requests()
    browser.open(name)
    asked = [url for url in browser.requests() if not url.startswith(("about:", "data:"))]
    assert [url.startswith("file:") for url in asked] == [True], asked
    assert browser.one("h1").text == "What tiny/llama attends to"
    assert len(browser.all(".top svg.plot")) == 2 and all(figure.text for figure in browser.all("svg.plot"))


def test_the_console_is_heard(started: Browser) -> None:
    started.open("language")
    started.run("setTimeout(() => { throw new Error('heard') })")
    WebDriverWait(started.driver, 5).until(lambda _: any("heard" in entry["message"] for entry in started.log()))


def test_a_large_scan_is_small_and_opens(browser: Browser) -> None:
    size = (browser.pages / "large.html").stat().st_size
    browser.open("large")
    wait_for(lambda: browser.run("performance.getEntriesByType('navigation')[0].loadEventEnd") > 0)
    assert size < 3_000_000
    assert len(browser.all(".top .cell")) == 24 * 32
    assert len(browser.driver.find_elements(By.CSS_SELECTOR, ".text .t")) == 4096


def test_the_map_shows_the_statistic_that_is_chosen(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")

    def shown() -> list[str]:
        return [value.text for value in browser.all(".top [data-kind=map] .value")]

    def expected(name: str, digits: int) -> list[str]:
        return [f"{value:.{digits}f}" for row in scans["language"].parts[0].statistics[name].mean for value in row]

    assert shown() == expected("sink_mass", 2)
    Select(browser.one(".top .statistic select")).select_by_value("entropy")
    assert shown() == expected("entropy", 1)
    assert browser.one(".top [data-kind=map] .title").text == "entropy"


def test_a_cell_opens_the_card_of_its_head(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")
    browser.click('.top .cell[data-at="2,4"]')
    assert browser.hash() == "#L2H4"
    card, statistics = browser.card(), scans["language"].parts[0].statistics
    assert card.startswith("L2H4") and "layer 3 of 4" in card and "heads=[(2, 4)]" in card
    assert f"{statistics['sink_mass'].mean[2][4]:.2f} of attention" in card
    assert browser.run("document.activeElement.tagName") == "H2"
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.card() == "" and browser.hash() == ""


def test_an_address_opens_its_card_and_a_wrong_one_none(browser: Browser) -> None:
    browser.open("language", "#L3H1")
    assert browser.card().startswith("L3H1")
    browser.driver.execute_script("location.hash = '#L2H0'")
    wait_for(lambda: browser.card().startswith("L2H0"))
    browser.driver.back()
    wait_for(lambda: browser.card().startswith("L3H1"))
    for wrong in ("#L9H0", "#L0H6", "#vision.L0H0", "#%", "#L1"):
        browser.open("language", wrong)
        assert browser.card() == ""


def test_the_card_tells_the_top_keys_of_a_query(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language", "#L1H2")
    cards, tokens = scans["language"].parts[0].cards, scans["language"].examples[0].tokens
    assert cards is not None
    assert Select(browser.one("#card select")).first_selected_option.text.startswith(f"{len(tokens) - 1}: ")
    for query in (0, 3):
        Select(browser.one("#card select")).select_by_index(query)
        lines = [line.text.split() for line in browser.all("#card .keys li")]
        keys, weights = cards.keys[1][2][query], cards.weights[1][2][query]
        assert [line[0] for line in lines] == [tokens[key] for key in keys]
        assert [line[-1] for line in lines] == [f"{weight / 255:.2f}" for weight in weights]


def test_the_keyboard_reaches_a_head(browser: Browser) -> None:
    browser.open("language")
    plot = browser.one(".top [data-kind=map] svg")
    plot.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    assert browser.one("#tip").text.startswith("L1H2")
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    plot.send_keys(Keys.ENTER)
    assert browser.hash() == "#L1H2"


def test_the_table_sorts_and_filters(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")
    entropy = scans["language"].parts[0].statistics["entropy"].mean
    ranked = sorted(
        (value, f"L{row}H{head}") for row, values in enumerate(entropy) for head, value in enumerate(values)
    )

    def names() -> list[str]:
        return [row.get_attribute("data-head") for row in browser.all(".heads tbody tr")]

    browser.click(".heads [data-name=entropy] button")
    assert names() == [name for _, name in ranked[::-1]][:12]
    assert browser.one(".heads [data-name=entropy]").get_attribute("aria-sort") == "descending"
    browser.click(".heads [data-name=entropy] button")
    browser.click(".heads .more")
    assert names() == [name for _, name in ranked]
    field = browser.one(".heads input")
    field.send_keys("L2 entropy < 1.5")
    assert names() == [name for value, name in ranked if name.startswith("L2") and value < 1.5] != []
    field.clear()
    field.send_keys("colour")
    assert names() == [] and "not understood" in browser.one(".told").text
    field.clear()
    field.send_keys("L3H5")
    browser.click(".heads tbody td")
    assert browser.hash() == "#L3H5"


def test_without_sinks_the_rest_is_divided_by_what_is_left(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")
    part = scans["language"].parts[0]
    browser.click(".without input")
    browser.click(".top [data-kind=areas] .save-csv")
    rows = [line.split(",") for line in browser.saved("where-attention-goes.csv").splitlines()]
    assert rows[0] == ["layer", "last 16", "rest"]
    for row, shares in zip(rows[1:], part.areas.shares, strict=True):
        left = [value or 0 for value in shares[2:]]
        assert [float(value) for value in row[1:]] == pytest.approx([value / sum(left) for value in left], rel=2e-3)
    assert browser.one(".top [data-kind=map] .title").text == "entropy, without sinks"
    values = [value.text for value in browser.all(".top [data-kind=map] .value")]
    assert values == [f"{value:.1f}" for row in part.statistics["entropy|no_sinks"].mean for value in row]
    assert not browser.one(".statistic option[value=sink_mass]").is_enabled()
    browser.click(".without input")
    assert "other sinks" in browser.one(".top [data-kind=areas] svg").text


def strengths(browser: Browser) -> list[float]:
    return browser.run("[...document.querySelectorAll('.texts .t')].map(t => Number(t.style.getPropertyValue('--a')))")


def test_the_text_is_coloured_as_is_chosen(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")
    example, cards = scans["language"].examples[0], scans["language"].parts[0].cards
    assert example.norms is not None and cards is not None

    def expected(values: list[float]) -> list[float]:
        top = max(values[1:])
        return [0.0, *(min(1.0, value / top) for value in values[1:])]

    received = [sum(layer[at] for layer in example.received) for at in range(len(example.tokens))]
    assert strengths(browser) == pytest.approx(expected(received), abs=6e-4)
    by, layer = (Select(select) for select in browser.all(".texts select")[1:])
    layer.select_by_value("2")
    assert strengths(browser) == pytest.approx(expected(example.received[2]), abs=6e-4)
    by.select_by_value("norms")
    assert strengths(browser) == pytest.approx(expected(example.norms[2]), abs=6e-4)
    browser.click('.top .cell[data-at="1,3"]')
    browser.click("#card .colour")
    assert strengths(browser) == pytest.approx(expected(cards.bins[1][3]), abs=6e-4)
    Select(browser.all(".texts select")[0]).select_by_index(1)
    assert len(strengths(browser)) == 9 and by.first_selected_option.text == "attention received"


def test_the_strongest_patch_lies_on_its_pixels(browser: Browser) -> None:
    browser.open("vision", "#vision.L0H0")
    browser.one("#card .close").click()
    script = "[...document.querySelectorAll('#panel-2 .patch')].map(p => Number(p.style.getPropertyValue('--a')))"
    values = browser.run(script)
    assert len(values) == 36 and values[35] == 1 > max(values[:35])
    patch, picture = browser.all("#panel-2 .patch")[35].rect, browser.one("#panel-2 .picture").rect
    assert patch["width"] == pytest.approx(picture["width"] / 6, abs=1)
    assert patch["x"] + patch["width"] == pytest.approx(picture["x"] + picture["width"], abs=2)
    assert patch["y"] + patch["height"] == pytest.approx(picture["y"] + picture["height"], abs=2)
    assert browser.run("document.querySelector('#panel-2 .picture img').naturalWidth") == 144


def test_each_part_has_its_tab(browser: Browser) -> None:
    browser.open("vision")
    assert [tab.text for tab in browser.all("[role=tab]")] == ["the language model", "the image encoder"]
    assert "▦ 16 image tokens" in browser.one("#panel-1 .text").text
    browser.all("[role=tab]")[0].send_keys(Keys.ARROW_RIGHT)
    assert browser.all("#panel-2 svg.plot") and not browser.all("#panel-1")
    browser.click("#panel-2 .top .cell")
    assert browser.hash() == "#vision.L0H0" and 'heads=[(0, 0)], part="vision"' in browser.card()
    browser.open("vision", "#main.L1H1")
    assert browser.all("#panel-1") and "heads=[(1, 1)]\n" in browser.card()
    browser.open("translation", "#decoder.cross.L2H3")
    assert browser.all("#panel-3") and 'heads=[(2, 3)], role="cross"' in browser.card()


def test_figures_are_saved_as_they_are_shown(browser: Browser, scans: dict[str, Scan]) -> None:
    browser.open("language")
    browser.click(".top [data-kind=map] .save-csv")
    lines = browser.saved("sink-mass.csv").splitlines()
    mass = scans["language"].parts[0].statistics["sink_mass"].mean
    assert lines[0] == "layer,head,sink_mass,std" and len(lines) == 1 + 4 * 6
    assert lines[9].startswith(f"1,2,{mass[1][2]:.4g}"[:9])
    browser.click(".top [data-kind=map] .save-svg")
    svg = browser.saved("sink-mass.svg")
    assert svg.startswith("<svg") and "rgb(" in svg and "class=" not in svg and "var(" not in svg
    browser.driver.get("about:blank")
    assert (
        browser.run(f"new DOMParser().parseFromString({json.dumps(svg)}, 'image/svg+xml').querySelector('parsererror')")
        is None
    )


def test_the_command_is_copied(browser: Browser) -> None:
    browser.open("language")
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", {"permissions": ["clipboardReadWrite"]})
    browser.click("#command")
    WebDriverWait(browser.driver, 5).until(lambda _: browser.one("#command").text == "copied")
    read = "navigator.clipboard.readText().then(arguments[0])"
    assert browser.driver.execute_async_script(read) == "regard scan tiny/llama --max-tokens 512"


def luminance(colour: str) -> float:
    """Relative luminance of a colour that the browser gives as rgb(...)."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_in_both_schemes(browser: Browser, scheme: str) -> None:
    browser.emulate("setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.open("language", "#L0H0")
    paper = luminance(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert (paper > 0.8) == (scheme == "light")
    pairs = {
        ("body", "color"): "body", (".summary", "color"): "body", (".good", "color"): "body", ("a", "color"): "body",
        (".findings h3", "color"): ".findings > li", (".findings .quiet", "color"): ".findings > li",
        ("svg .tick", "fill"): "figure", ("#card .quiet", "color"): "#card",
    }  # fmt: skip
    for (selector, name), below in pairs.items():
        style = "getComputedStyle(document.querySelector({}))[{}]"
        ink = luminance(browser.run(style.format(json.dumps(selector), json.dumps(name))))
        ground = luminance(browser.run(style.format(json.dumps(below), '"backgroundColor"')))
        assert (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05) >= 4.5, selector


@pytest.mark.parametrize("name", SCANS)
def test_a_phone_scrolls_down_only(browser: Browser, name: str) -> None:
    browser.emulate("setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True})
    browser.open(name)
    assert browser.run("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    browser.click(".top .cell")
    assert browser.card() and browser.run("document.getElementById('card').getBoundingClientRect().width") == 390


def test_paper_is_light_and_the_first_screen_has_its_own_page(browser: Browser) -> None:
    browser.emulate(
        "setEmulatedMedia", {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    browser.open("language")
    assert luminance(browser.run("getComputedStyle(document.body).backgroundColor")) == 1
    assert luminance(browser.run("getComputedStyle(document.body).color")) < 0.05
    assert browser.run("getComputedStyle(document.querySelector('.top')).breakAfter") == "page"
    assert browser.all("button:not(thead button)") == [] and browser.all("thead button")


def test_a_frame_of_a_notebook_can_open_cards(browser: Browser) -> None:
    browser.open("language")
    browser.driver.execute_script(
        "const text = document.documentElement.outerHTML; const frame = document.createElement('iframe');"
        "frame.style.cssText = 'width:1200px;height:900px'; frame.srcdoc = arguments[0]; document.body.replaceChildren(frame);",
        (browser.pages / "language.html").read_text(encoding="utf-8"),
    )
    browser.driver.switch_to.frame(browser.one("iframe"))
    WebDriverWait(browser.driver, 5).until(lambda _: browser.all(".heads tbody a"))
    for _ in range(2):
        browser.click(".heads tbody a")
        wait_for(lambda: browser.card() != "")
        browser.one("#card .close").click()
        assert browser.card() == ""
    browser.driver.switch_to.default_content()
    assert browser.all("iframe")


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait at most five seconds."""
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["minilm", "decoder", "pair", "vlm"])
def test_the_page_of_a_model_works_in_each_of_its_parts(browser: Browser, measured: dict[str, Scan], name: str) -> None:
    whole = measured[name]
    browser.open(name)
    tabs = browser.all("[role=tab]")
    assert [tab.text for tab in tabs] == ([part.title for part in whole.parts] if len(whole.parts) > 1 else [])
    for place, part in enumerate(whole.parts):
        panel = f"#panel-{place + 1} " if tabs else ""
        if tabs:
            tabs[place].click()
        values = [float(value.text) for value in browser.all(f"{panel}.top [data-kind=map] .value")]
        expected = [value for row in part.statistics["sink_mass"].mean for value in row]
        assert values == pytest.approx(expected, abs=0.0051) and browser.all(f"{panel}.findings li")
        browser.click(f'{panel}.top .cell[data-at="1,2"]')
        layer = part.rows[1].layer
        assert browser.hash().endswith(f"L{layer}H2") and browser.card() and browser.all("#card .keys li")
        browser.click("#card .colour")
        coloured = browser.all(f"{panel}.texts .t") or browser.all(f"{panel}.patch")
        assert coloured
        browser.click(f"{panel}.without input")
        assert "without sinks" in browser.one(f"{panel}.top [data-kind=map] .title").text
        browser.click(f"{panel}.without input")
