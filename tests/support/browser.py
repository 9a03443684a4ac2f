"""Headless Chromium, as tests look at a page with it."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Debian's packages chromium and chromium-driver (chromium, chromedriver on PATH)",
)


@contextmanager
def browser(width: int = 1600, height: int = 1200, *, dark: bool = False) -> Iterator[Chrome]:
    """Chromium without a window, that keeps what the console says and what is loaded.

    The page itself is `width` by `height` pixels, also where a window could not be so narrow.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--window-size={width},{height}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(DRIVER)))
    try:
        look(driver, width, height, dark=dark)
        yield driver
    finally:
        driver.quit()


def look(driver: Chrome, width: int, height: int, *, dark: bool = False, media: str = "") -> None:
    """Look at pages so large, in the light or in the dark, on a screen or as they are printed."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    emulated = {"media": media, "features": [scheme]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)


def wait(get: Callable[[], object], expected: object = True, seconds: float = 90) -> None:
    """Return when the page shows what is expected; fail where it does not get there."""
    end = time.monotonic() + seconds
    shown: object = None
    while shown != expected:
        assert time.monotonic() < end, f"{shown}, not {expected}"
        time.sleep(0.05)
        with suppress(StaleElementReferenceException):  # drawn anew while it was looked at
            shown = get()


def console_errors(driver: Chrome) -> list[str]:
    """What the console has complained of since it was asked last."""
    return [
        entry["message"]
        for entry in driver.get_log("browser")
        if entry["level"] in ("SEVERE", "WARNING")
    ]


def requested(driver: Chrome) -> list[str]:
    """The addresses of all that was asked for since this was asked last, pictures in data aside."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith("data:")]
