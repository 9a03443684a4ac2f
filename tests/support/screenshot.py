"""Make a picture of a page: python tests/support/screenshot.py LINK FILE.png"""

import sys
import time
from io import BytesIO

from browser import browser
from PIL import Image

COLOURS = 128  # a third of the file's size, and hardly another picture
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
        picture = Image.open(BytesIO(driver.get_screenshot_as_png()))
        picture.quantize(COLOURS).save(path, optimize=True)
