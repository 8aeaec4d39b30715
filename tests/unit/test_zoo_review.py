"""Which expectation counts, and files that tools' arguments name."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest

from converter.cache.key import files_of_tools
from converter.errors import ArchiveError
from converter.jobs import child
from converter.options.resolve import Layer, resolve
from converter.zoo.cells import failed
from converter.zoo.gate import judge
from converter.zoo.index import Build, Index, Status
from converter.zoo.manifest import ExpectedFailure
from converter.zoo.matrix import Wanted
from converter.zoo.places import Place
from converter.zoo.plan import PlannedCell

TODAY = date(2026, 11, 29)


def entry(days: int, code: int) -> ExpectedFailure:
    return ExpectedFailure(reason=f"r{code}", until=TODAY + timedelta(days=days), exit_code=code)


@pytest.mark.parametrize(
    ("entries", "exit_code", "reason"),
    [
        ([entry(-1, 6), entry(9, 3)], 0, "r3"),
        ([entry(9, 6), entry(-1, 3)], 8, "r3"),
        ([entry(9, 6)], 8, "r6"),
    ],
    ids=["another is late", "its own is late", "another kind"],
)
def test_a_failure_is_held_against_the_entry_that_means_it(
    entries: list[ExpectedFailure], exit_code: int, reason: str
) -> None:
    place = Place(given="net.onnx", path=Path("net.onnx"))
    wanted = Wanted(
        model="m",
        target="rvc4",
        mode="default",
        toolchain="auto",
        source=place,
        options=resolve([]),
        expected=entries,
    )
    cell = failed(PlannedCell(wanted=wanted), ArchiveError("It is damaged."), TODAY)  # exit code 3
    assert cell.expected is not None
    assert cell.expected.reason == reason
    assert (cell.status is Status.EXPECTED_FAILURE) == (exit_code == 0)
    build = Build(
        id="b",
        started_at="",
        ended_at="",
        seconds=0.0,
        converter="1",
        manifest="zoo.yaml",
        manifest_sha256="0" * 64,
        only=(),
    )
    verdict = judge(Index(build=build, cells=[cell]), None, today=TODAY)
    assert verdict.exit_code == exit_code


@pytest.mark.parametrize("words", [["--io={}"], ["--io", "{}"]])
def test_a_file_that_an_argument_names_is_part_of_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "io.yaml"), "io.yaml"):
        named = [word.format(name) for word in words]
        options = resolve([Layer(origin="x", values={"rvc4.snpe_onnx_to_dlc_args": named})])
        seen = []
        for content in (b"a", b"b"):
            (tmp_path / "io.yaml").write_bytes(content)
            seen.append(files_of_tools(options))
        assert seen[0] != seen[1]


def test_a_tar_of_frames_that_is_no_tar_is_the_job_s_error(tmp_path: Path) -> None:
    data = tmp_path / "calibration.zip"
    data.write_bytes(b"neither")
    request = {
        "source": str(tmp_path / "net.onnx"),
        "target": "rvc4",
        "options": {"calibration.path": str(data)},
        "toolchain": "auto",
        "report": False,
        "unpack": True,
    }
    document = child._convert(request, tmp_path)
    assert (document["exit_code"], document["error"]["class"]) == (3, "ArchiveError")
