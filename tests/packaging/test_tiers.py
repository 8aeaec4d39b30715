"""What a test run makes of a machine without a container engine, and what it leaves in the environment."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.documents import ROOT

# One that imports a model in the test process, as OpenVINO's tools do, and one that wants an engine.
WITHOUT = "tests/convert/test_export.py::test_shared_weights_are_written_once"
WITH = (
    "tests/container/test_container.py::test_a_tool_has_no_network_no_capabilities_and_no_way_to_more"
)


def run_tests(**env: str) -> subprocess.CompletedProcess[str]:
    """A test session where no engine answers; the environment has no CI but what is given."""
    clean = {key: value for key, value in os.environ.items() if key not in ("CI", "CONTAINER_HOST")}
    nowhere = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "NNCONVERT_TEST_SOCKET": ""}
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", WITHOUT, WITH]
    return subprocess.run(
        argv, cwd=ROOT, env=clean | nowhere | env, capture_output=True, text=True, timeout=300
    )


def test_without_an_engine_what_wants_one_is_skipped_and_that_is_no_failure() -> None:
    done = run_tests()
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout


def test_in_ci_a_skipped_test_is_a_failure() -> None:
    done = run_tests(CI="true")
    assert "1 passed, 1 skipped" in done.stdout, done.stdout
    assert "1 tests were skipped, which fails in CI." in done.stdout
    assert done.returncode == 1
