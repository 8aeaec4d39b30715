"""Jobs that are real conversions, each in a process of its own."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converter.jobs import Dispatcher, Here, Limits, Request, Rows, State, Storage, Submission, connect
from converter.jobs.cluster import Cluster
from converter.jobs.isolation import Isolation
from converter.processes.sandbox import find
from tests.documents import ROOT
from tests.jobs_arena import free_port
from tests.sources import DIGITS_ARCHIVE


@dataclass(frozen=True)
class Jobs:
    rows: Rows
    storage: Storage
    here: Here
    dispatcher: Dispatcher


def zip_of(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(folder.iterdir()):
            file.write(path, path.name)
    return packed.getvalue()


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    folder = tmp_path_factory.mktemp("jobs")
    rows, storage = Rows(connect(str(folder / "jobs.db"))), Storage(folder / "files")
    # What a service does; the worker below runs its attempt outside.
    sandbox, _ = find("auto", hidden=[folder])
    here = Here(storage, slots=2, isolation=Isolation(sandbox) if sandbox else None)
    dispatcher = Dispatcher(rows, here, poll_s=0.1)
    yield Jobs(rows, storage, here, dispatcher)
    dispatcher.close()
    rows.engine.dispose()


def digits(storage: Storage, target: str = "rvc2", **options: object) -> Request:
    return Request(
        source=storage.put(DIGITS_ARCHIVE),
        source_name=DIGITS_ARCHIVE.name,
        target=target,
        options=options,
        calibration=storage.put(zip_of(DIGITS_ARCHIVE.parent / "calibration")),
    )


def test_a_job_is_converted_in_a_process_and_its_row_names_the_files(
    jobs: Jobs, tmp_path: Path
) -> None:
    jobs.rows.submit(Submission(id="digits", request=digits(jobs.storage)))
    jobs.rows.submit(Submission(id="wrong", request=digits(jobs.storage, nonsense=1)))
    jobs.dispatcher.run_until_idle()

    job, made = jobs.rows.get("digits"), jobs.rows.artefacts("digits")
    assert (job.state, job.attempt, job.reason) == (State.SUCCEEDED, 1, "")
    assert job.result is not None
    assert job.result["output"] == made["archive"].name == "digits.rvc2.tar.xz"
    assert (job.result["exit_code"], job.result["verification"]["status"]) == (0, "passed")
    jobs.storage.fetch(made["archive"].digest, tmp_path / "out.tar.xz")
    found = hashlib.sha256((tmp_path / "out.tar.xz").read_bytes()).hexdigest()
    assert found == job.result["sha256"] == made["archive"].digest.removeprefix("sha256:")
    assert {"archive", "report", "log"} == set(made)
    assert jobs.rows.attempts("digits")[0].peak_bytes > 50e6

    events = jobs.rows.events("digits")
    assert [one.position for one in events] == list(range(1, job.events + 1))
    states = [one.data["state"] for one in events if one.kind == "state"]
    assert states == ["queued", "running", "succeeded"]
    begun = [one.data["stage"] for one in events if one.kind == "stage" and "title" in one.data]
    assert begun == ["prepare", "compile", "verify", "pack"]

    wrong = jobs.rows.get("wrong")
    assert (wrong.state, wrong.attempt) == (State.FAILED, 1)
    assert wrong.result is not None
    assert wrong.result["exit_code"] == wrong.result["error"]["exit_code"] == 2
    assert wrong.result["error"]["class"] == "UsageError"
    assert "nonsense" in wrong.reason
    assert "archive" not in jobs.rows.artefacts("wrong")


def test_a_conversion_that_is_cancelled_leaves_nothing(jobs: Jobs) -> None:
    request = digits(jobs.storage, **{"rvc2.number_of_shaves": 3})
    jobs.rows.submit(Submission(id="cancelled", request=request))
    compiling = False
    while not compiling and not jobs.rows.get("cancelled").has_ended:
        jobs.dispatcher.step()
        compiling = any(one.data.get("stage") == "compile" for one in jobs.rows.events("cancelled"))
    folder = jobs.here._working["cancelled", 1]._folder

    def left() -> list[str]:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(folder).encode() in (place / "environ").read_bytes():
                    found.append((place / "cmdline").read_text())
        return found

    assert left(), "the compiler runs"
    jobs.rows.cancel("cancelled")
    jobs.dispatcher.run_until_idle()
    assert jobs.rows.get("cancelled").state is State.CANCELLED
    assert left() == []
    assert not folder.exists()
    assert "archive" not in jobs.rows.artefacts("cancelled")


def test_a_job_is_converted_by_a_worker_of_a_scheduler(jobs: Jobs, tmp_path: Path) -> None:
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    listen = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    command = "from converter.cli import main; main()"
    started = [
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *listen],
        [
            sys.executable,
            "-c",
            command,
            "worker",
            "--scheduler",
            address,
            "--slots",
            "1",
            "--sandbox",
            "off",
        ],
    ]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    cluster = Cluster(address, jobs.storage)
    dispatcher = Dispatcher(jobs.rows, cluster, poll_s=0.1)
    with (tmp_path / "log").open("wb") as log, contextlib.ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(one, stdout=log, stderr=log, env=env))
            for one in started
        ]
        try:
            request = digits(jobs.storage, **{"rvc2.number_of_shaves": 5})
            labels = frozenset({"rvc2/native"})
            jobs.rows.submit(Submission(id="far", request=request, labels=labels))
            dispatcher.run_until_idle()
            job = jobs.rows.get("far")
            assert job.state is State.SUCCEEDED, (job.reason, (tmp_path / "log").read_text())
            archive = jobs.rows.artefacts("far")["archive"]
            assert jobs.storage.verify(archive.digest)
            stages = [one for one in jobs.rows.events("far") if one.kind == "stage"]
            assert len(stages) == 8
            dispatcher.close()
            # It drains, and ends.
            processes[1].terminate()
            assert processes[1].wait(60) == 0
        finally:
            for one in processes:
                one.kill()


def test_a_job_that_takes_too_much_fails_once_and_others_go_on(jobs: Jobs) -> None:
    for name, limits in {
        "endless": Limits(time_s=0.3),
        "memory": Limits(most_memory_bytes=64 << 20),
        "file": Limits(most_file_bytes=2000),
    }.items():
        jobs.rows.submit(Submission(id=name, request=digits(jobs.storage), limits=limits))
    jobs.dispatcher.run_until_idle()
    for name in ("endless", "memory", "file"):
        job = jobs.rows.get(name)
        assert (job.state, job.attempt) == (State.FAILED, 1), (name, job.reason)
        assert job.result is not None
        assert job.result["exit_code"] in (5, 6), (name, job.reason)
    assert "did not end within 0.3 s" in jobs.rows.get("endless").reason
    assert jobs.here.room()[0].free == 2
