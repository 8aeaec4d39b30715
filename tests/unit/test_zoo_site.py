"""The zoo's site in a browser: from a folder, on a phone, in the dark, with hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from converter.zoo import history
from converter.zoo.gate import judge
from converter.zoo.index import Cell, Index
from converter.zoo.site.states import page_key
from converter.zoo.site.write import write_site
from tests.browser import chromium
from tests.zoo_builds import cell, expected, failed, index

TODAY = date(2026, 11, 29)
HOSTILE = "</script><img src=x onerror=alert(1)> \"'& & ../../etc/passwd"
LONG = "a-model-with-a-name-that-has-no-end-" * 4
PHONE, DESK = {"width": 375, "height": 720}, {"width": 1280, "height": 900}
REPORT = "<!doctype html><html><body><h1>The conversion's page</h1></body></html>"


def matrix(day: int) -> list[Cell]:
    """The cells of a day's build: 110 models, three columns."""
    cells = []
    for number in range(110):
        name = {0: HOSTILE, 1: LONG}.get(number, f"model-{number:03}")
        tags = ("detector", "night") if number % 10 == 0 else ("classifier",)
        cells += [
            cell(name, "rvc2", "default", tags=tags, seconds=20.0 + day),
            cell(name, "rvc4", "INT8_STANDARD", tags=tags, size_bytes=1_000_000 + 9_000 * day),
        ]
        if number % 3 == 0:
            cells.append(cell(name, "rvc4", "FP16_STANDARD", tags=tags, cached=True))
    if day == 3:
        hostile = {"message": HOSTILE, "kind": HOSTILE, "exit_code": 4, "remedy": HOSTILE}
        cells[0] = failed(HOSTILE, "rvc2", "default", error=hostile, tags=(HOSTILE,))
        cells[1] = replace(
            cells[1],
            size_bytes=1_900_000,
            warnings=(HOSTILE, "The output passes as silent."),
            report="reports/report-0.html",
            archive="archives/a-0.tar.xz",
            provenance="files/p.json",
            sbom="files/s.json",
            log="logs/l.txt",
        )
        cells[3] = failed(LONG, "rvc2", "default", expected=expected())
    return cells


@dataclass
class Site:
    """The folder, the browser, and what its console said."""

    folder: Path
    browser: Any
    said: list[str] = field(default_factory=list)

    def open(self, where: str = "index.html", **how: Any) -> Any:
        context = self.browser.new_context(**{"viewport": DESK, **how})
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("requestfailed", lambda request: self.said.append(f"failed: {request.url}"))
        page.on("dialog", lambda dialog: (self.said.append("a dialog"), dialog.dismiss()))
        page.goto((self.folder / where).as_uri())
        return page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "reports").mkdir()
    (folder / "reports" / "report-0.html").write_text(REPORT)
    before: Index | None = None
    past = history.History()
    for day in range(1, 4):
        build = index(*matrix(day), id=f"2026112{day}T010203Z-0a1b2c3d")
        verdict = judge(build, before, today=TODAY)
        place = folder / "builds" / build.build.id
        place.mkdir(parents=True)
        front = write_site(place, build, verdict, past, base=f"builds/{build.build.id}/")
        past = history.read(place / history.FILE)
        before = build
    (folder / "index.html").write_text(front)
    with chromium() as browser:
        yield Site(folder, browser)


@pytest.fixture
def quiet(site: Site) -> Iterator[Site]:
    """The site; its console must have said nothing."""
    site.said.clear()
    yield site
    assert site.said == []


def model_place(site: Site, model: str) -> str:
    place = sorted((site.folder / "builds").iterdir())[-1]
    return f"{place.relative_to(site.folder)}/models/{page_key(model)}.html"


def overflow(page: Any) -> int:
    """Pixels by which a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def names(page: Any) -> list[str]:
    return [text.strip() for text in page.locator("#rows th a").all_inner_texts()]


def test_the_front_page_shows_the_matrix_a_hundred_models_at_a_time(quiet: Site) -> None:
    page = quiet.open()
    assert page.locator("#told").inner_text() == "1 to 100 of 110 models"
    assert names(page)[:3] == [HOSTILE, LONG, "model-002"]
    assert page.locator("#rows td a.F span").first.inner_text() == "✗"
    page.click("#later")
    assert page.locator("#told").inner_text() == "101 to 110 of 110 models"
    assert names(page)[0] == "model-100"
    assert page.locator("#later").is_disabled()
    page.click("#earlier")
    assert names(page)[2] == "model-002"
    assert "The gate says no for 2 cells" in page.locator(".banner").inner_text()


def test_search_filters_by_words_tags_state_and_target(quiet: Site) -> None:
    page = quiet.open()
    page.fill("#query", "MODEL-01 detector")
    assert names(page) == ["model-010"]
    page.fill("#query", "detector")
    assert len(names(page)) == 10  # the hostile one has another tag now
    page.fill("#query", "no such thing")
    assert page.locator("#told").inner_text() == "No model matches."
    page.fill("#query", "")
    page.select_option("#state", "FR")
    assert names(page) == [HOSTILE]
    page.select_option("#state", "E")
    assert names(page) == [LONG]
    page.select_option("#state", "")
    page.select_option("#column", label="rvc4 FP16_STANDARD")
    assert page.locator("#told").inner_text() == "1 to 37 of 37 models"


def test_a_cell_leads_to_its_place_on_the_models_page(quiet: Site) -> None:
    page = quiet.open()
    page.locator("#rows tr").nth(0).locator("td a.R").click()
    page.wait_for_url("**/models/*.html#*")
    assert page.locator("h1").inner_text() == HOSTILE
    section = page.locator(f"[id='{page.url.rsplit('#')[1]}']")
    assert "worse than the published build" in section.locator("h2").inner_text()
    assert "1,018,000 → 1,900,000 bytes (+86.6%)" in section.inner_text()
    assert section.locator(".sparks svg").count() == 4
    assert section.locator(".sparks .mark").count() == 3
    assert section.locator("a[download]").first.get_attribute("href") == "../../../archives/a-0.tar.xz"
    page.click("text=Report with pictures and plots")
    assert page.frame_locator("iframe").locator("h1").inner_text() == "The conversion's page"
    page.click("nav a")
    assert page.locator("#rows tr").count() == 100


def test_a_phone_needs_no_scrolling_to_the_side(quiet: Site) -> None:
    page = quiet.open(viewport=PHONE)
    assert overflow(page) <= 0
    badge = page.locator("#rows a.s").first.bounding_box()
    assert badge["height"] >= 24  # what a thumb hits (WCAG 2.5.8)
    page.fill("#query", "model-01")
    assert overflow(page) <= 0
    for model in (HOSTILE, LONG):
        page.goto((quiet.folder / model_place(quiet, model)).as_uri())
        assert page.locator("h1").inner_text() == model
        assert overflow(page) <= 0


def test_the_dark_is_dark(quiet: Site) -> None:
    page = quiet.open()
    papers = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert contrast(page) > 4.5
    assert papers[0] != papers[1]


def contrast(page: Any) -> float:
    """The least contrast of a state's text with what is behind it (WCAG 2.2, 1.4.3)."""
    return float(
        page.evaluate("""() => {
        const draw = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        const paper = getComputedStyle(document.body).backgroundColor;
        const pixel = (...layers) => {
            for (const layer of layers) { draw.fillStyle = layer; draw.fillRect(0, 0, 1, 1); }
            return [...draw.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255);
        };
        const light = (color) => color
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
        return Math.min(...[...document.querySelectorAll(".s")].map((node) => {
            const style = getComputedStyle(node);
            const both = [pixel(paper, style.backgroundColor), pixel(paper, style.color)].map(light);
            return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
        }));
    }""")
    )


def test_without_a_script_the_first_models_are_there(quiet: Site) -> None:
    page = quiet.open(java_script_enabled=False)
    assert page.locator("#rows tr").count() == 100
    assert not page.locator("#search").is_visible()
    assert "first 100 of 110 models" in page.content()


def test_every_page_is_inside_its_folder(site: Site) -> None:
    pages = [path.relative_to(site.folder).as_posix() for path in site.folder.rglob("*.html")]
    assert len(pages) == 3 * 111 + 2
    assert not [
        name
        for name in pages
        if set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./")
    ]
    text = (site.folder / model_place(site, HOSTILE)).read_text()
    assert "<img" not in text
    assert text.count("<script") == 0
