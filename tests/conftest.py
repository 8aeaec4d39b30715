"""Fixtures for all tests. What compiles natively is the real thing; what is a double is named one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from converter.container import Engine, Image, connect, find_socket
from converter.events import ignore
from converter.processes.run import kept_warm
from converter.target import modules_called
from targets.rvc2.myriad import toolchain as rvc2
from targets.rvc2.myriad.toolchain import Toolchain
from tests import engine as engines

# Files whose tests share nothing that is slow to make: every worker takes some of them.
SPREAD = ("test_cases", "test_rvc4_convert", "test_rvc2_convert")
# Files that take minutes; `nox -s quick` leaves them out. What they cover by whole conversions, the others
# cover in parts, and test_rvc2_convert, test_rvc2_verify and test_cache convert for both targets.
SLOW = frozenset(
    {
        *("test_cases", "test_rule_blobs", "test_rvc4_formats", "test_see_it"),
        *(
            "test_blob_execution",
            "test_blob_rewrites",
            "test_export",
            "test_init",
            "test_ir_lowering",
            "test_large_models",
        ),
        *(
            "test_lint_readers",
            "test_modelconverter",
            "test_modelconverter_export",
            "test_online_convert",
        ),
        *(
            "test_pinned_wheel",
            "test_rvc4_convert",
            "test_serve",
            "test_serve_faults",
            "test_serve_page",
            "test_sources",
            "test_stages",
            "test_systems",
            "test_tar",
        ),
    }
)
# Why the test that restarts the engine cannot run.
RESTART = "only an engine that CI started may be restarted"
NO_NAMESPACES = "this machine gives bubblewrap no namespaces"


def pytest_configure(config: pytest.Config) -> None:
    # What `auto` chooses must not hang on this machine: tests see the engine only where they ask for it.
    # xdist's workers inherit what the first process found.
    engines.ADDRESS = os.environ.setdefault("NNCONVERT_TEST_SOCKET", find_socket() or "") or None
    os.environ["DOCKER_HOST"] = "unix:///nowhere/docker.sock"
    # DepthAI looks for devices and a network as it is imported, and warns that there are none.
    os.environ.setdefault("DEPTHAI_LEVEL", "off")
    os.environ.setdefault("DEPTHAI_TELEMETRY", "0")


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.stem in SLOW:
        item.add_marker(pytest.mark.slow)


def group_of(nodeid: str) -> str:
    """What runs in one worker, one after the other.

    A file does, for its tests share what they convert once; so does all that uses the engine: one test
    restarts it, others count its containers.
    """
    path = Path(nodeid.partition("::")[0])
    if path.parent.name == "container" or "about_containers" in nodeid:
        return "engine"
    if path.stem.startswith("test_modelconverter"):
        return "modelconverter"
    return nodeid if path.stem in SPREAD else path.stem


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    # Not --dist loadgroup: xdist 3.8 writes the group into a name that pytest 9.2 no longer reads.
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.fixture(scope="session", autouse=True)
def warm_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One fork server for all the conversions of this process."""
    modules = dict.fromkeys((*modules_called("rvc2"), *modules_called("rvc4")))
    with kept_warm(tuple(modules), tmp_path_factory.mktemp("warm")):
        yield


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The RVC2 toolchain, fetched through pip if it is not in the cache."""
    if problem := rvc2.PINNED.problem_with_system():
        pytest.skip(problem)
    return rvc2.ensure(ignore)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """The container engine of this machine; `.ci/run` starts one where there is none."""
    if why := engines.problem():
        pytest.skip(why)
    with (
        contextlib.closing(connect(engines.ADDRESS)) as found,
        engines.own_names_kept(found),
    ):
        yield found


@pytest.fixture
def reachable(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The engine, where commands look for it."""
    monkeypatch.setenv("DOCKER_HOST", engine.socket)
    return engine


@pytest.fixture(scope="session")
def debian(engine: Engine) -> Image:
    """Debian 12 with Python 3.11, which images are built from."""
    return engines.debian(engine, "bookworm", "python3-minimal,libpython3-stdlib")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 48 KB; needs the right to mount."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """The namespaces that bubblewrap makes, tried without the converter's own code."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    tried = subprocess.run(
        ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"],
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        pytest.skip(f"{NO_NAMESPACES}: {tried.stderr.strip()}")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """CI can run every test there is, so one that was skipped there is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    # Beside somebody else's live engine, or in a container without user namespaces, CI cannot run them.
    cannot = (RESTART, NO_NAMESPACES)
    skipped = [report for report in skipped if not any(why in str(report.longrepr) for why in cannot)]
    if os.environ.get("CI") and skipped and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\n{len(skipped)} tests were skipped, which fails in CI.")
