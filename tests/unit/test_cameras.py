"""A camera's name is a target: people know their camera, not its chip."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.cameras import cameras, markdown, named_targets, slug, target_of
from converter.errors import UsageError
from converter.run import plan
from converter.target import names
from tests.documents import ROOT
from tests.sources import DIGITS_ARCHIVE

OWN = ("rvc2", "rvc3", "rvc4")
EVERY = [(camera, target) for target in OWN for camera in cameras(target)]


@pytest.mark.parametrize(
    ("word", "target", "camera"),
    [
        ("oak-d", "rvc2", "OAK-D"),
        ("OAK-D-LITE", "rvc2", "OAK-D Lite"),
        ("oak d pro w", "rvc2", "OAK-D Pro W"),
        ("OAK-D-PRO-AF", "rvc2", "OAK-D Pro"),
        ("oak_1", "rvc2", "OAK-1"),
        ("rae", "rvc3", "RAE"),
        ("OAK4", "rvc4", "OAK4"),
        ("oak-4-d", "rvc4", "OAK4-D"),
        ("oak4-s", "rvc4", "OAK4-S"),
        ("RVC2", "rvc2", ""),
        ("rvc-4", "rvc4", ""),
    ],
)
def test_a_camera_has_its_target(word: str, target: str, camera: str) -> None:
    found = target_of(word)
    assert (found.target, found.camera) == (target, camera)
    assert str(found) == (f"{camera}: the target is {target}." if camera else "")


@given(st.sampled_from(EVERY), st.sampled_from(["-", "_", " ", ""]), st.data())
def test_case_and_hyphens_make_no_difference(
    pair: tuple[str, str], between: str, data: st.DataObject
) -> None:
    camera, target = pair
    word = re.sub("[- ]", between, camera)
    word = "".join(data.draw(st.sampled_from([letter.lower(), letter.upper()])) for letter in word)
    assert (target_of(word).target, target_of(word).camera) == (target, camera)


def test_no_camera_has_two_targets() -> None:
    plain = [re.sub("[^a-z0-9]", "", camera.lower()) for camera, _ in EVERY]
    assert len(set(plain)) == len(plain)


@pytest.mark.parametrize(
    ("word", "near"), [("oakd-lit", "'oak-d-lite'"), ("oak4-dd", "'oak4-d'"), ("rvc9", ""), ("oak", "")]
)
def test_an_unknown_one_is_told_with_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        target_of(word)
    assert (f"Perhaps you meant {near}" in caught.value.remedy) == bool(near)
    assert all(name in caught.value.remedy for name in names())


def test_several_are_separated_by_commas_and_each_is_taken_once() -> None:
    assert [named.target for named in named_targets("rvc2, oak4-d,OAK-D")] == ["rvc2", "rvc4"]
    with pytest.raises(UsageError, match="names nothing"):
        named_targets(" , ")


def test_python_takes_them_too() -> None:
    assert plan(DIGITS_ARCHIVE, "OAK-D Lite").target == "rvc2"


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_readme_and_the_documentation_open_with_the_table(page: str) -> None:
    text = (ROOT / page).read_text()
    table = markdown(OWN)
    assert table in text
    assert text.index(table) < text.index("\n## ")
    for camera, _ in EVERY:
        assert slug(camera) == camera.lower().replace(" ", "-")
