"""`--report` and `preview` for real: a page and pictures of a conversion of digits."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import converter
from converter.cli.analyze import analyze
from converter.errors import UsageError, VerificationError
from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import DIGITS, DIGITS_ARCHIVE
from tests.unit.test_report_page import check_page

PHOTOS = sorted((DIGITS / "calibration").glob("*.png"))[:2]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGB")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("see")
    done = converter.convert(
        DIGITS_ARCHIVE, "rvc2", output=folder / "digits.tar.xz", report=folder / "new" / "page.html"
    )
    return done.output, folder / "new" / "page.html"


def test_a_conversions_page_tells_what_the_record_does(made: tuple[Path, Path]) -> None:
    archive, page = made
    text = page.read_text()
    seen = check_page(text)
    # Two frames, each with what the camera sends, what the network gets, source and result.
    assert seen.found.count("img") == 8
    assert seen.found.count("svg") >= 2
    for said in (
        "computes what the source does",
        "the best class is the same in 2 of 2 frames",
        f"{archive.stat().st_size:,} bytes",
        "BGR888p",
        "dai.NNArchive('digits.tar.xz')",
        "What the network gets",
    ):
        assert said in seen.text, said


def test_a_browser_shows_the_page_on_a_desk_and_on_a_phone(made: tuple[Path, Path]) -> None:
    """Chromium, from a folder: nothing is fetched, nothing is cut, and the dark page is dark."""
    from playwright.sync_api import sync_playwright

    said: list[str] = []
    paper: dict[str, str] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for scheme, width in (("light", 1280), ("dark", 375)):
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on(
                "request",
                lambda sent: None if sent.url.startswith(("file:", "data:")) else said.append(sent.url),
            )
            page.goto(made[1].as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") == width
            cut = """[...document.querySelectorAll("svg text")].filter(text => {
                const own = text.getBoundingClientRect()
                const all = text.ownerSVGElement.getBoundingClientRect()
                return own.left < all.left || own.right > all.right || own.bottom > all.bottom
            }).map(text => text.textContent)"""
            assert page.evaluate(cut) == []
            assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
            paper[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        browser.close()
    assert said == []
    brightness = {
        scheme: sum(map(int, re.findall(r"\d+", color))) / 3 for scheme, color in paper.items()
    }
    assert brightness["light"] > 200
    assert brightness["dark"] < 60


def test_the_report_changes_no_byte_of_the_archive(made: tuple[Path, Path], tmp_path: Path) -> None:
    done = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "digits.tar.xz")
    assert done.output.read_bytes() == made[0].read_bytes()
    # A conversion without it can still tell: the same page.
    assert done.report().html == made[1].read_text()
    assert done.report(tmp_path / "later.html").path == tmp_path / "later.html"
    assert (tmp_path / "later.html").read_text() == made[1].read_text()


def test_a_failed_verification_has_a_page_and_pictures(made: tuple[Path, Path], tmp_path: Path) -> None:
    strict = {"verify.max_rel_rmse": 0.0}
    page = tmp_path / "failed.html"
    with pytest.raises(VerificationError, match=r"failed\.html shows it"):
        converter.verify_archive(made[0], DIGITS_ARCHIVE, options=strict, report=page)
    seen = check_page(page.read_text())
    assert "does not compute what the source does" in seen.text
    assert "relative RMSE" in seen.text
    picture = tmp_path / "failed.png"
    with pytest.raises(VerificationError, match=r"failed\.png shows it"):
        converter.preview(made[0], PHOTOS, DIGITS_ARCHIVE, output=picture, options=strict)
    assert _opened(picture).width > 600


def test_a_preview_draws_each_photo_twice_and_says_the_difference(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    done = converter.preview(made[0], PHOTOS, DIGITS_ARCHIVE, output=tmp_path / "new" / "out.png")
    assert [line.split(":")[0] for line in done.said] == [photo.name for photo in PHOTOS]
    assert all("in the source" in line for line in done.said)
    assert json.dumps(done.to_json())
    picture = _opened(done.output)
    assert picture.width == 3 * 12 + 2 * 320
    assert picture.height > 2 * 320
    # The same digit on both sides, pixel for pixel.
    row = [picture.getpixel((x, 200)) for x in range(picture.width)]
    assert row[12 : 12 + 320] == row[24 + 320 : 24 + 640]


def test_an_analysis_has_a_row_for_each_layer_of_a_blob(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "layers.html"
    assert analyze(made[0], DIGITS_ARCHIVE, None, [], report=page, as_json=True, quiet=True) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"].values()
    known = [layer["accumulated"] for layer in stage["layers"] if layer["accumulated"] is not None]
    assert len(known) >= 5
    assert 0 < max(known) < 0.01
    seen = check_page(page.read_text())
    assert seen.found.count("details") == len(stage["layers"])
    assert seen.found.count("svg") >= len(known)


def test_an_analysis_measures_what_helps_an_rvc4_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"calibration.path": str(DIGITS / "calibration")}
    off = {"verify.enabled": False}
    archive = tmp_path / "digits.tar"
    converter.convert(DIGITS_ARCHIVE, "rvc4", output=archive, options={**data, **off})
    frames = DIGITS / "calibration"
    assert analyze(archive, DIGITS_ARCHIVE, frames, [], report=None, as_json=False, quiet=True) == 0
    text = capsys.readouterr().out
    assert "8 frames" in text
    assert "'/0/Conv' (Conv)" in text
    assert "Bias correction: relative RMSE" in text
    assert "the outputs' error falls by" in text


@pytest.mark.parametrize(
    ("photos", "output", "said"),
    [
        ([], "out.png", "no photo"),
        (["nowhere.png"], "out.png", "no such file"),
        ([DIGITS_ARCHIVE], "out.png", "no photo"),
        (PHOTOS, "out.tar.xz", "a picture is wanted"),
    ],
)
def test_what_cannot_be_previewed_is_refused_before_the_work(
    photos: list[Path], output: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        converter.preview(tmp_path / "none", photos, DIGITS_ARCHIVE, output=tmp_path / output)
