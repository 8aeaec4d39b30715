"""Verifying an RVC2 archive looks at the file in it, whoever made that file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import converter
from converter.archive import tar
from converter.errors import ArchiveError, VerificationError
from converter.open_source import open_archive
from targets.rvc2.blob.graph import read_stages
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.superblob import make_superblob, read_superblob
from tests.sources import DIGITS_ARCHIVE

pytestmark = pytest.mark.usefixtures("toolchain")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The digits as a blob and as a superblob."""
    folder = tmp_path_factory.mktemp("converted")
    for superblob in (False, True):
        options = {"rvc2.superblob": superblob}
        converter.convert(DIGITS_ARCHIVE, "rvc2", output=folder / f"{superblob}.tar", options=options)
    return {superblob: folder / f"{superblob}.tar" for superblob in (False, True)}


def tampered(archive: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    """The archive with another compiled file, and a build record with that file's hash."""
    import hashlib

    with open_archive(archive) as opened:
        name = opened.config["model"]["metadata"]["path"]
        data = change(opened.path(name).read_bytes())
        record: dict[str, Any] = json.loads(opened.path("buildinfo.json").read_text())
        record["compiled"]["sha256"] = hashlib.sha256(data).hexdigest()
        members = [
            ("config.json", opened.path("config.json").read_bytes()),
            ("buildinfo.json", json.dumps(record).encode()),
            (name, data),
        ]
        with target.open("wb") as file:
            tar.write(file, members, "")
    return target


@pytest.mark.parametrize("superblob", [False, True])
def test_a_file_as_it_was_written_passes_without_the_compiler(
    converted: dict[bool, Path], superblob: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("targets.rvc2.myriad.toolchain.ensure", lambda _on_event: pytest.fail("used"))
    record = converter.verify_archive(converted[superblob], DIGITS_ARCHIVE)
    assert record["status"] == "passed"
    assert "the blob, every stage executed" in record["checked_on"]


def test_a_stage_that_cannot_be_executed_is_not_vouched_for(
    converted: dict[bool, Path], tmp_path: Path
) -> None:
    def another_type(blob: bytes) -> bytes:
        header = read_blob(blob)
        at = header.stages_at
        for stage in read_stages(blob, header):
            (length,) = struct.unpack_from("<I", blob, at)
            if stage.type != 38:
                kind = struct.pack("<I", 199)
                end = at + length - 8
                return blob[: at + 4] + kind + blob[at + 8 : end] + kind + blob[end + 4 :]
            at += length
        raise AssertionError("no such stage")

    archive = tampered(converted[False], tmp_path / "a.tar", another_type)
    with pytest.raises(VerificationError, match="Not every output could be compared") as caught:
        converter.verify_archive(archive, DIGITS_ARCHIVE)
    assert "scores" in str(caught.value)


def test_weights_that_were_changed_are_found(converted: dict[bool, Path], tmp_path: Path) -> None:
    def other_weights(blob: bytes) -> bytes:
        at = read_blob(blob).constants_at
        return blob[: at + 2000] + bytes(len(blob) - at - 2000)

    archive = tampered(converted[False], tmp_path / "a.tar", other_weights)
    with pytest.raises((VerificationError, ArchiveError)):
        converter.verify_archive(archive, DIGITS_ARCHIVE)


def test_a_superblob_whose_patches_give_other_blobs_is_refused(
    converted: dict[bool, Path], tmp_path: Path
) -> None:
    def all_for_sixteen(data: bytes) -> bytes:
        superblob = read_superblob(data)
        return make_superblob(
            superblob.base, dict.fromkeys(superblob.patches, superblob.patches[16])
        ).to_bytes()

    archive = tampered(converted[True], tmp_path / "a.tar", all_for_sixteen)
    with pytest.raises(ArchiveError, match="is not what its build record says"):
        converter.verify_archive(archive, DIGITS_ARCHIVE)


def test_a_patch_that_is_damaged_is_an_archives_fault(
    converted: dict[bool, Path], tmp_path: Path
) -> None:
    def cut(data: bytes) -> bytes:
        superblob = read_superblob(data)
        patches = {**superblob.patches, 4: superblob.patches[4][:40]}
        return make_superblob(superblob.base, patches).to_bytes()

    archive = tampered(converted[True], tmp_path / "a.tar", cut)
    with pytest.raises(ArchiveError, match="4 SHAVE cores is damaged"):
        converter.verify_archive(archive, DIGITS_ARCHIVE)


def test_a_record_that_says_something_else_of_the_file_is_refused(
    converted: dict[bool, Path], tmp_path: Path
) -> None:
    with open_archive(converted[False]) as opened:
        record = json.loads(opened.path("buildinfo.json").read_text())
        record["compiled"]["number_of_shaves"] = 99
        name = opened.config["model"]["metadata"]["path"]
        members = [
            ("config.json", opened.path("config.json").read_bytes()),
            ("buildinfo.json", json.dumps(record).encode()),
            (name, opened.path(name).read_bytes()),
        ]
        with (tmp_path / "a.tar").open("wb") as file:
            tar.write(file, members, "")
    with pytest.raises(ArchiveError, match="was changed"):
        converter.verify_archive(tmp_path / "a.tar", DIGITS_ARCHIVE)
