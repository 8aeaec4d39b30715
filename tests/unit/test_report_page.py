"""The report's page: well-formed, self-contained, every text escaped; the plots' places."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from converter.errors import UsageError
from converter.report_page.load import example
from converter.report_page.page import Subject, page
from converter.report_page.place import page_place
from converter.report_page.plots import histogram, scatter
from converter.run import plan
from tests.sources import DIGITS_ARCHIVE

VOID = {"meta", "img"}


class Elements(HTMLParser):
    """Reads a page strictly: what is opened is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.found: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.found.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: Any) -> None:
        self.found.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check_page(text: str) -> Elements:
    """A page that opens from a folder without a network."""
    page = Elements(text)
    assert all(link.startswith("data:image/") for link in page.links), page.links
    assert not {"script", "link", "iframe", "object"} & set(page.found)
    assert not re.findall(r"(?:url\(|@import|https?:)", text)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    return page


values = arrays.arrays(
    np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
)


@settings(max_examples=60, deadline=None)
@given(a=values, seed=st.integers(0, 99))
def test_plots_are_well_formed_and_stay_inside_their_frame(a: Any, seed: int) -> None:
    b = a + np.random.default_rng(seed).normal(0, 1, a.shape)
    for plot in (scatter(a, b), histogram(a, b)):
        root = ElementTree.fromstring(plot)
        if root.tag == "p":
            assert not (np.isfinite(a) & np.isfinite(b)).any()
            continue
        for path in root.iter("path"):
            numbers = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path.attrib["d"])
            for x, y in numbers:
                assert 0 <= float(x) <= 260
                assert 0 <= float(y) <= 200


def test_a_scatter_keeps_the_values_that_are_furthest_apart() -> None:
    a = np.linspace(0, 1, 100_000)
    b = a.copy()
    b[12_345] = 1.0
    path = re.findall(r'class="points" d="([^"]+)"', scatter(a, b))[0]
    assert 1000 < path.count("M") < 2000
    # Equal values lie on the diagonal; that one lies at the top.
    across = 62 + a[12_345] * (260 - 62 - 12)
    assert f"M{across:.1f} 10.0h0" in path


def test_a_histogram_is_as_high_as_its_count() -> None:
    a = np.array([0.0] * 9 + [1.0])
    outline = re.findall(r'class="filled" d="([^"]+)"', histogram(a, a))[0]
    heights = {float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", outline)}
    bottom, top = 200 - 34, 10
    assert min(heights) == top
    # One value beside nine: log(2) / log(10) of the height.
    assert any(abs(bottom - y - np.log10(2) * (bottom - top)) < 0.1 for y in heights)


@pytest.mark.parametrize("name", ["a.txt", "a.tar.xz", "a"])
def test_a_report_is_a_page(name: str) -> None:
    with pytest.raises(UsageError, match="is a page"):
        page_place(name)


@pytest.mark.parametrize(
    ("parsers", "node"),
    [
        ([], "dai.node.NeuralNetwork"),
        (["YOLO"], "dai.node.DetectionNetwork"),
        (["YOLOExtendedParser"], "(ParsingNeuralNetwork)"),
        (["YOLO", "SegmentationParser"], "(ParsingNeuralNetwork)"),
    ],
)
def test_the_example_is_python_and_has_the_node_for_the_heads(parsers: list[str], node: str) -> None:
    text = example("it's.tar.xz", parsers)
    compile(text, "example", "exec")
    assert node in text


def subject(**fields: Any) -> Subject:
    known: dict[str, Any] = {
        "archive": Path("digits.rvc2.tar.xz"),
        "size_bytes": 1,
        "source": DIGITS_ARCHIVE,
        "plan": plan(DIGITS_ARCHIVE, "rvc2"),
        "record": {},
        "kept": [],
        "warnings": [],
    }
    return Subject(**{**known, **fields})


def test_a_page_without_a_comparison_says_so_and_shows_the_rest() -> None:
    seen = check_page(page(subject(warnings=["mind the gap"])).html)
    for said in ("Not compared with the source", "mind the gap", "scores", "How to load it"):
        assert said in seen.text, said


def test_no_text_of_a_model_becomes_markup() -> None:
    """Names, warnings and the tools' words come from files of strangers."""
    evil = "</pre><script src=//x>alert(1)</script>"
    record = {"status": "failed", "diagnosis": {"said": [evil]}, "checked_on": evil, "outputs": {}}
    text = page(
        subject(archive=Path(evil.replace("/", "")), record=record, warnings=[evil], error=evil)
    ).html
    assert "<script" not in text
    assert Elements(text).text.count("alert(1)") >= 5


def test_what_failed_was_not_written_and_is_not_loaded() -> None:
    seen = check_page(page(subject(size_bytes=None, record={"status": "failed", "outputs": {}})).html)
    assert "was not written" in seen.text
    assert "How to load it" not in seen.text


def test_a_notebook_shows_a_page_in_a_frame_of_its_own() -> None:
    """Nothing of the page gets out of the frame: its style is not the notebook's."""

    class Frame(HTMLParser):
        def handle_starttag(self, tag: str, attributes: Any) -> None:
            assert tag == "iframe"
            self.inside = dict(attributes)["srcdoc"]

    made = page(subject(warnings=['a "quoted" & <b>bold</b> name']))
    frame = Frame()
    frame.feed(made._repr_html_())
    assert frame.inside == made.html
    assert "in memory" in repr(made)
