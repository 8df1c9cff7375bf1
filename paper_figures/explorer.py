"""The screenshots of docs/explorer.md.

    make .venv-explorer/.done
    .venv-explorer/bin/python paper_figures/explorer.py      # half a minute, with an idle machine; needs a Chromium

Writes docs/images/explorer_light.png, explorer_dark.png and explorer_phone.png.
"""

import shutil
import threading
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from lrjax.explorer._explore import make_routes
from lrjax.explorer._server import Server

OUT = Path(__file__).parents[1] / "docs/images"


def open_page(browser: Browser, url: str, width: int, height: int, scheme: str) -> Page:
    """The page in a window of this size, its first question answered."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)  # pyright: ignore
    page.set_default_timeout(600_000)
    page.goto(url)
    settle(page)
    return page


def settle(page: Page) -> None:
    """Wait for the last answer, and for what fades."""
    page.wait_for_selector("html[data-state=idle]", state="attached")
    page.wait_for_timeout(400)


def main() -> None:
    """Take all three."""
    with Server("127.0.0.1", 0, make_routes()) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = open_page(browser, server.url, 1280, 880, "light")
        page.get_by_role("button", name="Exploration and exploitation").click()
        settle(page)
        page.screenshot(path=OUT / "explorer_light.png")
        page = open_page(browser, server.url, 400, 1240, "light")
        page.get_by_role("button", name="Warmup").click()
        settle(page)
        page.screenshot(path=OUT / "explorer_phone.png")
        page = open_page(browser, server.url, 1280, 860, "dark")
        page.get_by_role("button", name="Search the handwritten digits").click()
        page.locator("#picks tbody tr").first.wait_for()
        settle(page)
        page.locator("#finder").evaluate("each => scrollTo(0, each.offsetTop - 60)")
        page.wait_for_timeout(1500)
        page.screenshot(path=OUT / "explorer_dark.png")
        browser.close()
        server.shutdown()


if __name__ == "__main__":
    main()
