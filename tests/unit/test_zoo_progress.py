"""What a build of the zoo shows: lines on a pipe, a table on a terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from converter.cli.zoo_progress import ZooReporter
from converter.zoo.events import Began, CellEnded, CellStarted, CellTold, Noted, ZooEvent
from converter.zoo.index import Cell, Status

GREEN = {"status": Status.SUCCEEDED, "seconds": 2.0, "size_bytes": 1234}
RED = {"error": {"message": "It has no Foo.", "remedy": "Add it."}, "seconds": 1.0}


def ended(model: str, **more: Any) -> CellEnded:
    return CellEnded(cell=Cell(model=model, target="rvc2", mode="default", **more))


EVENTS: list[ZooEvent] = [
    Began(total=5, to_run=4, estimate_s=40.0, at_once=0),
    Noted(text="rvc3 is left out: no engine"),
    ended("a", **GREEN, cached=True),
    Began(total=5, to_run=4, estimate_s=40.0, at_once=2),
    CellStarted(id="b/rvc2/default", cost_s=None),
    CellTold(id="b/rvc2/default", text="Compiling"),
    CellTold(id="b/rvc2/default", text="lost: the worker is gone"),
    ended("b", **GREEN),
    ended("c", status=Status.FAILED, **RED),
    ended("d", status=Status.EXPECTED_FAILURE, **RED),
    CellStarted(id="e/rvc2/default", cost_s=None),
    CellTold(id="e/rvc2/default", text="Comparing"),
]


def shown(capsys: pytest.CaptureFixture[str], *, quiet: bool) -> list[str]:
    with ZooReporter(quiet=quiet) as reporter:
        for event in EVENTS:
            reporter(event)
    return capsys.readouterr().err.splitlines()


def test_a_pipe_gets_a_line_for_each_cell(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, quiet=False) == [
        "5 cells, 4 to convert, about 40 s of conversion",
        "rvc3 is left out: no engine",
        "[1/5] a/rvc2/default: from the cache",
        "b/rvc2/default: started",
        "b/rvc2/default: lost: the worker is gone",
        "[2/5] b/rvc2/default: 2.0 s, 1,234 bytes",
        "[3/5] c/rvc2/default: FAILED: It has no Foo. Add it.",
        "[4/5] d/rvc2/default: fails as expected: It has no Foo. Add it.",
        "e/rvc2/default: started",
    ]


def test_quiet_leaves_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(capsys, quiet=True)
    assert len(said) == 3
    assert "FAILED" in said[1]


def test_the_table_says_what_runs_at_which_stage_and_how_long_it_will_take() -> None:
    reporter = ZooReporter(quiet=True)
    for event in EVENTS:
        reporter(event)
    page = Console(file=io.StringIO(), width=100)
    page.print(reporter._table())
    text = page.file.getvalue()  # type: ignore[attr-defined]
    # 2 s a cell, one is left, two at once.
    assert "4/5 done, 1 cached, 1 failed, about 1 s left" in text
    assert "e/rvc2/default" in text
    assert "Comparing" in text
    assert "b/rvc2/default" not in text
