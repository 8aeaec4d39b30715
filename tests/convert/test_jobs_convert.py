"""Jobs that are real conversions, each in a process of its own."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from converter.jobs import Dispatcher, Here, Limits, Request, Rows, State, Storage, Submission, connect
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
    here = Here(storage, slots=2)
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
