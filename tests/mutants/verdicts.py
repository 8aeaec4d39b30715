"""A pytest plugin that writes down how each test ended, and whether an assertion ended it.

For the runner's forks only: it changes what the fixtures do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from converter.processes import run
from tests.mutants import PLACE


@contextmanager
def _nothing(modules: Sequence[str], work: Path) -> Iterator[None]:
    yield


# A fork server that imports everything ahead costs more than the few calls of these tests. This plugin is
# loaded before `conftest.py`, which takes the function from here.
run.kept_warm = _nothing

_verdicts: dict[str, list[str]] = {"passed": [], "asserted": [], "broken": [], "skipped": []}
_asserted: set[str] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Note what kind of exception ends a test: `pytest.raises` and `pytest.fail` count as assertions."""
    if call.excinfo is not None and call.excinfo.errisinstance((AssertionError, pytest.fail.Exception)):
        _asserted.add(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Sort a test by how it ended."""
    if report.failed:
        fell = report.when == "call" and report.nodeid in _asserted
        _verdicts["asserted" if fell else "broken"].append(report.nodeid)
    elif report.skipped:
        _verdicts["skipped"].append(report.nodeid)
    elif report.when == "call":
        _verdicts["passed"].append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported is no failed assertion."""
    if report.failed:
        _verdicts["broken"].append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the verdicts down, and where the packages came from."""
    import converter
    import targets

    places: list[Any] = [str(Path(str(module.__file__)).parent) for module in (converter, targets)]
    Path(os.environ[PLACE]).write_text(json.dumps({**_verdicts, "packages": places}))
