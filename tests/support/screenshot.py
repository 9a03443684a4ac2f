"""Make a picture of a page: python tests/support/screenshot.py LINK FILE.png"""

import sys
import time

from browser import browser

WAIT = 20  # seconds in which MLflow draws all that it shows
#: MLflow opens a panel of its own at a browser's first visit, which covers a quarter of the page.
NO_PANEL = """
    for (const key of ["fab.autoOpenedOnFirstLoad_v1", "panelOpen_v1"])
        localStorage.setItem("mlflow.assistant." + key, key.startsWith("fab"));
"""

if __name__ == "__main__":
    link, path = sys.argv[1:]
    with browser(1400, 1000) as driver:
        driver.get(link)
        driver.execute_script(NO_PANEL)
        driver.get("about:blank")
        driver.get(link)
        time.sleep(WAIT)
        driver.save_screenshot(path)
