"""Pages opened in a real browser: the machine's own Chromium, without a window."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (Debian: chromium)")

DESKTOP, PHONE = (1200, 900), (390, 844)


@dataclass
class Opened:
    """A page as a visitor has it. errors: of its scripts · requested: addresses that it asked for besides itself."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    @property
    def figures(self) -> int:
        """Figures that are drawn: those with marks inside their axes."""
        drawn = "figure => figure.querySelector('.trace path, .heatmaplayer image') !== null"
        return self.page.evaluate(f"[...document.querySelectorAll('.plotly-graph-div')].filter({drawn}).length")

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def download(self, link: int = 0) -> str:
        """What the link under a figure gives."""
        with self.page.expect_download() as waiting:
            self.page.locator("a.data").nth(link).click()
        return Path(waiting.value.path()).read_text()


@contextlib.contextmanager
def opened(path: Path, *, size: tuple[int, int] = DESKTOP) -> Iterator[Opened]:
    """Open a page from the disk, with no network at all."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, accept_downloads=True)
        found = Opened(page)
        page.on("pageerror", lambda error: found.errors.append(str(error)))
        page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: found.requested.append(asked.url))
        page.goto(path.resolve().as_uri(), wait_until="load")
        page.wait_for_timeout(200)
        found.requested = [url for url in found.requested if url != path.resolve().as_uri() and url[:5] != "data:"]
        yield found
        browser.close()
