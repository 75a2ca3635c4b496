"""A headless Chromium for the tests of the report; without it, or without the report, they skip or, in CI, fail."""

import os
import shutil
from collections.abc import Iterator
from typing import Never

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.workspace import PROJECT

REPORT = PROJECT / "report/index.html"
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")


def give_up(reason: str) -> Never:
    """Skip, or fail if BROWSER_REQUIRED is set, so that CI cannot overlook a broken report."""
    if os.environ.get("BROWSER_REQUIRED"):
        pytest.fail(f"{reason} (BROWSER_REQUIRED is set)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """One Chromium for the tests of a module, with logs of its console and network."""
    chromium, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not driver:
        give_up("no chromium; apt-get install chromium chromium-driver")
    if not REPORT.exists():
        give_up("no report/index.html; make repro")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_page_load_timeout(60)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    """The report, loaded from disk at 1280 pixels in light mode; logs of earlier tests are discarded."""
    resize(browser, 1280)
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(REPORT.as_uri())
    yield browser
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def resize(browser: webdriver.Chrome, width: int) -> None:
    """Set the page to `width` pixels, like a phone; a window cannot be that narrow."""
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
