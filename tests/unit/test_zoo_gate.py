"""The gate: what is found between two builds, what ends a build, and what CI is shown of it."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.findings import Severity
from converter.zoo.gate import Verdict, judge
from converter.zoo.index import Cell, Status
from converter.zoo.summaries import junit, markdown
from converter.zoo.thresholds import Thresholds
from tests.space import space
from tests.zoo_builds import VERIFICATION, cell, expected, failed, index

TODAY = date(2026, 11, 29)
HOSTILE = "</td><script>alert(1)</script> | [x](javascript:1) @all `\x00\ud800"


def verdict(new: Cell, old: Cell | None, limits: Thresholds | None = None, **how: Any) -> Verdict:
    before = index(old, id="before") if old else None
    return judge(index(new), before, limits, today=TODAY, **how)


def told(found: Verdict) -> list[tuple[str, Severity]]:
    return [(one.code, one.severity) for one in found.findings]


def record(**changes: Any) -> dict[str, Any]:
    """The verification with figures changed: `scores.rel_rmse`, `parts.0.error`, or a key of the top."""
    changed = copy.deepcopy(VERIFICATION)
    for path, value in changes.items():
        *way, last = path.split("__")
        place: Any = changed
        for key in way:
            place = place[int(key) if key.isdigit() else key]
        place[last] = value
    return changed


WORSE = {
    "size": ({"size_bytes": 1_101_000}, "zoo.size"),
    "rmse": ({"verification": record(outputs__scores__rel_rmse=0.03)}, "zoo.accuracy"),
    "not finite": ({"verification": record(outputs__scores__rel_rmse=None)}, "zoo.accuracy"),
    "cosine": ({"verification": record(outputs__scores__cosine=0.99)}, "zoo.accuracy"),
    "part": ({"verification": record(outputs__scores__parts__1__error=0.04)}, "zoo.accuracy"),
    "state": ({"verification": record(outputs__scores__parts__0__state="saturated")}, "zoo.accuracy"),
    "indices": ({"verification": record(outputs__best__wrong=0.05)}, "zoo.accuracy"),
    "labels": ({"verification": record(accuracy__compiled__top1=0.92)}, "zoo.metric"),
    "headline": ({"verification": record(headlines__0__value=0.5)}, "zoo.metric"),
    "skipped": ({"verification": {"status": "skipped", "reason": "switched off"}}, "zoo.verification"),
    "left out": (
        {"verification": record(outputs={"scores": VERIFICATION["outputs"]["scores"]})},
        "zoo.verification",
    ),
    "shape": (
        {"tensors": {"inputs": [{"name": "image", "dtype": "uint8", "shape": [1, 3, 32, 32]}]}},
        "zoo.tensors",
    ),
}


@pytest.mark.parametrize("how", WORSE)
def test_what_became_worse_ends_the_build(how: str) -> None:
    changes, code = WORSE[how]
    found = verdict(cell(**changes), cell())
    assert (code, Severity.ERROR) in told(found)
    assert (found.passed, found.exit_code) == (False, 8)
    # The reverse is no fault, except where the archive's interface changes either way.
    if code not in ("zoo.tensors",):
        assert verdict(cell(), cell(**changes)).passed
    assert not verdict(cell(), cell()).findings


@pytest.mark.parametrize("how", WORSE)
def test_a_change_that_people_accept_is_told(how: str) -> None:
    changes, code = WORSE[how]
    found = verdict(cell(**changes), cell(), accept=True)
    assert found.passed
    assert (code, Severity.WARNING) in told(found)


@pytest.mark.parametrize("how", WORSE)
def test_another_source_is_another_model(how: str) -> None:
    changes, _ = WORSE[how]
    found = verdict(cell(**changes), cell(source={"name": "digits.tar.xz", "sha256": "ef" * 32}))
    assert found.passed
    assert ("zoo.source", Severity.INFO) in told(found)


@pytest.mark.parametrize(
    ("limits", "how"),
    [
        (Thresholds(size_growth=0.2), "size"),
        (Thresholds(rel_rmse_growth=0.1), "rmse"),
        (Thresholds(cosine_loss=None), "cosine"),
        (Thresholds(rel_rmse_growth=None), "part"),
        (Thresholds(accuracy_loss=0.6), "labels"),
        (Thresholds(changed_tensors=True), "shape"),
    ],
)
def test_the_manifest_says_how_much(limits: Thresholds, how: str) -> None:
    assert verdict(cell(**WORSE[how][0]), cell(), limits).passed


def test_an_error_that_doubles_is_told_before_a_limit_breaks() -> None:
    found = verdict(cell(verification=record(outputs__scores__rel_rmse=0.009)), cell())
    assert told(found) == [("zoo.accuracy", Severity.WARNING)]
    assert "0.004 → 0.009" in found.findings[0].message


def test_warnings_that_differ_in_numbers_are_one() -> None:
    old = cell(warnings=("The error is 0.0123 of 5.",))
    assert not verdict(cell(warnings=("The error is 1.5e-3 of 6.",)), old).findings
    new = cell(warnings=("Something else.",))
    assert told(verdict(new, old)) == [("zoo.warnings", Severity.WARNING)]
    assert not verdict(new, old, Thresholds(new_warnings=False)).passed


def test_duration_ends_a_build_only_with_a_limit() -> None:
    slow = cell(seconds=100.0)
    assert told(verdict(slow, cell())) == [("zoo.seconds", Severity.WARNING)]
    assert not verdict(slow, cell(), Thresholds(slowdown=3)).passed
    assert not verdict(cell(seconds=100.0, cached=True), cell(), Thresholds(slowdown=3)).findings


@pytest.mark.parametrize(
    ("new", "old", "codes", "exit_code"),
    [
        (failed(), None, ["zoo.failed"], 8),
        (failed(), cell("digits", "rvc2", "default"), ["zoo.failed", "zoo.flipped"], 8),
        (failed(expected=expected()), cell("digits", "rvc2", "default"), ["zoo.flipped"], 0),
        (failed(expected=expected()), None, [], 0),
        (failed(expected=expected(until="2026-11-29")), None, [], 0),
        (failed(expected=expected(until="2026-11-28")), None, ["zoo.expired"], 8),
        (failed(status=Status.FAILED, expected=expected("2026-11-28")), None, ["zoo.expired"], 8),
        (failed(status=Status.FAILED, expected=expected()), None, ["zoo.failed"], 8),
        (cell(expected=expected()), None, ["zoo.expected"], 0),
        (cell("digits", "rvc2", "default"), failed(), ["zoo.mended"], 0),
        (cell(), None, [], 0),
    ],
)
def test_expected_failures_have_a_reason_and_a_date(
    new: Cell, old: Cell | None, codes: list[str], exit_code: int
) -> None:
    found = verdict(new, old)
    assert [one.code for one in found.findings] == codes
    assert found.exit_code == exit_code
    if "zoo.expired" in codes:
        assert "2026-11-28" in found.findings[0].message
        assert "vendor's ticket" in found.findings[0].message


def test_a_failure_is_never_accepted() -> None:
    assert not verdict(failed(), cell("digits", "rvc2", "default"), accept=True).passed


def test_a_cell_that_is_gone_is_told_unless_only_some_were_asked_for() -> None:
    before = index(cell(), cell("other"), id="before")
    assert told(judge(index(cell()), before, today=TODAY)) == [("zoo.gone", Severity.WARNING)]
    assert not judge(index(cell(), only=("digits",)), before, today=TODAY).findings
    strict = Thresholds(missing_cells=False)
    assert not judge(index(cell()), before, strict, today=TODAY).passed


def test_a_verdict_survives_its_document() -> None:
    found = verdict(cell(size_bytes=2_000_000), cell())
    assert Verdict.from_json(found.to_json()) == found
    assert found.said == "The gate says no for 1 cell (compared with build before)."


# ---------------------------------------------------------------- for CI


def shown(*cells: Cell, before: tuple[Cell, ...] = ()) -> tuple[ET.Element, str]:
    build = index(*cells)
    found = judge(build, index(*before, id="before") if before else None, today=TODAY)
    return ET.fromstring(junit(build, found)), markdown(build, found)


def test_junit_has_a_case_for_each_cell() -> None:
    root, _ = shown(
        cell(size_bytes=2_000_000),
        failed(),
        failed("other", expected=expected()),
        before=(cell(), cell("gone")),
    )
    cases = {(case.get("classname"), case.get("name")): case for case in root.iter("testcase")}
    assert cases["digits", "rvc4 INT8_STANDARD"].find("failure").get("type") == "zoo.size"  # type: ignore[union-attr]
    assert "NonZero" in cases["digits", "rvc2 default"].find("failure").get("message")  # type: ignore[union-attr, operator]
    skipped = cases["other", "rvc2 default"].find("skipped")
    assert skipped is not None
    assert "until 2027-01-01" in skipped.get("message", "")
    assert cases["gone", "gone/rvc4/INT8_STANDARD"].find("system-out") is not None
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("4", "2", "1")


@space(30)
@given(text=st.text())
def test_junit_and_markdown_take_any_text(text: str) -> None:
    root, summary = shown(
        failed(text, error={"message": text}), cell(size_bytes=9), before=(cell(text),)
    )
    assert len(list(root.iter("testcase"))) == 3
    for row in [line for line in summary.splitlines() if line.startswith("|")]:
        assert row.count("|") in (4, 5)


def test_a_hostile_name_is_text_in_a_summary() -> None:
    root, summary = shown(failed(HOSTILE, error={"message": HOSTILE}))
    assert "<script" not in summary
    assert "](" not in summary
    assert "@all" not in summary
    assert "alert(1)" in next(root.iter("testcase")).get("classname", "")


def test_a_summary_is_short_for_many_cells() -> None:
    _, summary = shown(*(failed(f"model-{number}") for number in range(2000)))
    assert "1,900 more" in summary
    assert len(summary) < 40_000
    assert "| rvc2 default | 0 | 2,000 | 0 |" in summary
