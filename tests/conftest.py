"""Fixtures for all tests. Those that compile use the real toolchain; nothing stands in for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from converter.events import ignore
from targets.rvc2 import toolchain as rvc2
from targets.rvc2.toolchain import Toolchain


def pytest_configure(config: pytest.Config) -> None:
    # DepthAI looks for devices and a network as it is imported, and warns that there are none.
    os.environ.setdefault("DEPTHAI_LEVEL", "off")
    os.environ.setdefault("DEPTHAI_TELEMETRY", "0")


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The RVC2 toolchain, fetched through pip if it is not in the cache."""
    if problem := rvc2.problem_with_machine():
        pytest.skip(problem)
    return rvc2.ensure(ignore)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """CI can run every test there is, so one that was skipped there is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if os.environ.get("CI") and skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\n{len(skipped)} tests were skipped, which fails in CI.")
