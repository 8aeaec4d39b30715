"""Debian's Chromium, without a window, for the tests that look at pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser that reaches nothing but this machine's files."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program is not None, "Chromium is missing: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


DESKTOP = {"width": 1100, "height": 900}
PHONE = {"width": 360, "height": 740}


def inaccessible(page: Any) -> list[str]:
    """What axe finds on a page: in the dark on a phone, and in the light on a desktop.

    Not in frames: a sandbox runs no script. The page is left in the light, with its window as it was.
    """
    from axe_playwright_python.sync_playwright import Axe

    axe, before, found = Axe(), page.viewport_size, []
    for scheme, size in (("dark", PHONE), ("light", DESKTOP)):
        page.emulate_media(color_scheme=scheme)
        page.set_viewport_size(size)
        told = axe.run(page, options={"iframes": False, "resultTypes": ["violations"]}).response
        assert told["passes"], "axe has looked at nothing"
        found += [
            f"{scheme}, {size['width']} px: {rule['id']} ({rule['help']}): {node['html'][:200]} "
            f"{node['failureSummary']}"
            for rule in told["violations"]
            for node in rule["nodes"]
        ]
    page.set_viewport_size(before)
    return found
