"""The page in Debian's Chromium, against a real server: by keyboard, in the dark, on a phone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import converter
from tests.browser import DESKTOP, PHONE, chromium, inaccessible
from tests.serving import running
from tests.sources import DIGITS_ARCHIVE

# Where the screenshots go, for people; else into the test's folder.
SHOTS = "NNCONVERT_SCREENSHOTS"


def nameless(page: Any) -> list[str]:
    """Controls that a screen reader has no name for."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll("input, select, textarea, button, iframe, progress")]
            .filter(one => one.checkVisibility())
            .filter(one => !(one.labels?.length || one.ariaLabel || one.title || one.textContent.trim()))
            .map(one => one.outerHTML)"""
        )
    )


def too_wide(page: Any) -> list[str]:
    """What is wider than the window, and does not scroll by itself."""
    return list(
        page.evaluate(
            """() => [...document.querySelectorAll("body *")]
            .filter(one => one.checkVisibility() && !one.closest(".wide > *"))
            .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .map(one => one.outerHTML.slice(0, 200))"""
        )
    )


def test_a_conversion_on_the_page(tmp_path: Path) -> None:
    shots = Path(os.environ.get(SHOTS, tmp_path / "shots"))
    shots.mkdir(parents=True, exist_ok=True)
    with running(tmp_path) as server, chromium() as browser:
        page = browser.new_page(viewport=DESKTOP, accept_downloads=True)
        said: list[str] = []
        elsewhere: list[str] = []
        page.on("console", lambda one: said.append(one.text) if one.type == "error" else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda one: (
                None
                if one.url.startswith((server.url, "data:", "blob:", "about:"))
                else elsewhere.append(one.url)
            ),
        )
        page.goto(server.url)
        # By keyboard alone: the key's field has the focus.
        page.wait_for_selector("#key:focus")
        page.keyboard.type("nnc_no_key")
        page.keyboard.press("Enter")
        page.wait_for_selector("#problem:not([hidden])")
        assert "Invalid API key" in page.inner_text("#problem")
        assert said == [
            "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
        ]
        said.clear()
        assert inaccessible(page) == []
        page.keyboard.type(server.key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#new:not([hidden])")
        assert page.evaluate("Object.keys(localStorage).length") == 0
        assert nameless(page) == []

        page.set_input_files("#model", DIGITS_ARCHIVE)
        assert DIGITS_ARCHIVE.name in page.inner_text("#chosen")
        page.select_option("#target", "rvc2")
        page.click("summary:has-text('Options')")
        assert page.get_by_label("rvc2.number_of_shaves, SHAVE cores").get_attribute("max") == "16"
        page.get_by_label("rvc2.number_of_shaves, SHAVE cores").fill("4")
        page.screenshot(path=shots / "new.png", full_page=True)
        assert inaccessible(page) == []
        page.click("#plan")
        page.wait_for_selector("#planned:not([hidden])", timeout=120_000)
        page.click("#new button:has-text('Convert')")
        page.wait_for_selector("#job:not([hidden])", timeout=60_000)
        assert page.evaluate("document.activeElement.id") == "job-title"
        page.wait_for_selector("#state.succeeded", timeout=240_000)
        page.wait_for_selector("#report:not([hidden])")
        assert page.locator("#stages li").count() >= 3
        page.click("summary:has-text('Log')")
        page.wait_for_function("document.getElementById('log').textContent.includes('ended')")
        assert nameless(page) == []
        assert "digits" in page.frame_locator("#report").locator("h1").inner_text().lower()
        assert inaccessible(page) == []
        report = browser.new_page(viewport=DESKTOP)
        report.set_content(page.get_attribute("#report", "srcdoc"))
        assert inaccessible(report) == []
        report.close()
        page.screenshot(path=shots / "done.png", full_page=True)
        with page.expect_download() as download:
            page.click("#download")
        download.value.save_as(tmp_path / "got.tar.xz")
        with converter.open_archive(tmp_path / "got.tar.xz") as found:
            assert found.config["model"]["metadata"]["path"].endswith(".blob")

        page.set_viewport_size(PHONE)
        page.emulate_media(color_scheme="dark")
        assert too_wide(page) == []
        page.screenshot(path=shots / "phone.png", full_page=True)
        # An option that is wrong is told with the nearest name.
        page.fill("#more", "rvc2.number_of_shavs=4")
        page.click("#new button:has-text('Convert')")
        page.wait_for_selector("#problem:not([hidden])")
        assert "rvc2.number_of_shaves" in page.inner_text("#problem")
        assert inaccessible(page) == []
        # Reloaded, the tab still has the key, and the list has the conversion.
        page.reload()
        page.wait_for_selector("#rows tr")
        assert page.locator("#rows tr").count() == 1
        page.click("#rows button")
        page.wait_for_selector("#state.succeeded")
        assert [one for one in said if "422" not in one] == []
        assert elsewhere == []
