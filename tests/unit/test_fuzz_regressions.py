"""Without atheris: what once got through a reader, and a few hundred seeded changes to real files."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest

import converter
from converter.archive import tar
from converter.errors import ArchiveError
from converter.open_source import open_archive
from targets.rvc2.myriad.toolchain import Toolchain
from targets.rvc4.dlc.read import read_dlc, read_records
from tests.fuzz import fuzz_readers
from tests.fuzz.fuzz_readers import TARGETS, EscapeError, guarded
from tests.fuzz.make_corpus import DATA, HEADS
from tests.fuzz.mutate import mutate_archive, mutate_words
from tests.sources import RGB, conv_model, write_folder

CRASHES = sorted((Path(__file__).parents[1] / "fuzz" / "crashes").glob("*/*"))
MAX_BYTES = 1 << 17
FLOAT_DLC = (DATA / "digits-float.dlc").read_bytes()


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets write below the test's own folder."""
    monkeypatch.setattr(fuzz_readers, "_scratch", lambda: tmp_path)


def packed(folder: Path) -> bytes:
    out = io.BytesIO()
    tar.write(out, [(name, folder / name) for name in ("config.json", "model.onnx")], "")
    return out.getvalue()


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_inputs_that_once_got_through_are_answered(path: Path) -> None:
    """Those with names for names were found by reading the readers, the others by libFuzzer."""
    TARGETS[path.parent.name](path.read_bytes())


def test_changed_archives_are_answered_and_unpack_nowhere_else(tmp_path: Path) -> None:
    data = packed(write_folder(tmp_path / "net", conv_model(), preprocessing=RGB, heads=HEADS))
    for seed in range(200):
        TARGETS["archive"](mutate_archive(data, MAX_BYTES, seed))


def test_changed_dlcs_are_answered() -> None:
    for seed in range(200):
        TARGETS["dlc"](mutate_words(FLOAT_DLC, MAX_BYTES, seed))


def test_changed_blobs_and_superblobs_are_answered(tmp_path: Path, toolchain: Toolchain) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    options = {"rvc2.superblob": True, "verify.enabled": False}
    done = converter.convert(folder, "rvc2", output=tmp_path / "o.tar", options=options)
    with open_archive(done.output) as archive:
        data = archive.path("model.superblob").read_bytes()
    base = data[136 : 136 + struct.unpack_from(">q", data)[0]]
    for seed in range(200):
        TARGETS["superblob"](mutate_words(data, MAX_BYTES, seed))
        TARGETS["blob"](mutate_words(base, MAX_BYTES, seed))


def test_a_write_outside_of_the_work_folder_would_be_seen(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with guarded(work):
        (work / "fine").write_text("")
    for escape in (
        lambda: (tmp_path / "file").write_text(""),
        lambda: (tmp_path / "folder").mkdir(),
        lambda: (work / "fine").rename(tmp_path / "moved"),
        lambda: (tmp_path / "link").symlink_to(work),
    ):
        with pytest.raises(EscapeError), guarded(work):
            escape()


def test_a_folders_file_that_goes_while_it_is_read_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    look = tar.name_problem

    def vanishing(name: str) -> str:
        if name == "model.onnx":
            (folder / name).unlink()
            (folder / name).symlink_to("model.onnx")  # a loop: there, and not to be opened
        return look(name)

    monkeypatch.setattr(tar, "name_problem", vanishing)
    with pytest.raises(ArchiveError, match=r"model\.onnx cannot be read"):
        open_archive(folder)


def overlapping(depth: int) -> bytes:
    """A DLC whose `depth` tensors are one and the same, which has `depth` encodings, again all the same."""
    buffer = bytearray(b"\0\0\0\0NETD")
    open_places = [0]  # where offsets to the next thing stand

    def lands() -> None:
        """What was pointed to begins here."""
        for place in open_places:
            struct.pack_into("<I", buffer, place, len(buffer) - place)
        open_places.clear()

    def table(field: int, dtype: int = 0) -> None:
        """A table of one offset to what comes next, and behind it the number of a type."""
        vtable = len(buffer)
        offsets = [0] * 8
        offsets[field], offsets[6] = 4, 8
        buffer.extend(struct.pack("<HH8H", 20, 12, *offsets))
        lands()
        open_places.append(len(buffer) + 4)
        buffer.extend(struct.pack("<iII", len(buffer) - vtable, 0, dtype))

    def vector(count: int) -> None:
        lands()
        begin = len(buffer) + 4
        buffer.extend(struct.pack("<I", count) + bytes(4 * count))
        open_places.extend(range(begin, begin + 4 * count, 4))

    table(0)  # the root, its graphs
    vector(1)
    table(2)  # the graph, its tensors
    vector(depth)
    table(5, 0x408)  # the tensor, its quantization
    table(3)  # by channel
    table(1)  # its encodings
    vector(depth)
    table(7)
    lands()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as dlc:
        dlc.writestr("model", struct.pack("<HHHH", 0x0AD5, 4, 0, 0) + buffer)
    return out.getvalue()


def test_a_dlc_whose_offsets_overlap_is_refused_before_it_fills_the_memory() -> None:
    (tensor,) = read_dlc(overlapping(1)).tensors
    assert (tensor.dtype, len(tensor.encodings)) == ("uint8", 1)
    # 80 kilobytes that stand for a hundred million encodings.
    with pytest.raises(ArchiveError, match="too many of its offsets"):
        read_dlc(overlapping(10_000))


def dlc_with(name: str, content: bytes) -> bytes:
    """The float DLC with one record's content instead of what it has."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as dlc:
        for record, data in read_records(memoryview(FLOAT_DLC)).items():
            dlc.writestr(record, content if record == name else bytes(data))
    return out.getvalue()


@pytest.mark.parametrize("content", [b'{"a": NaN}', b'{"a": 1e999}', b'{"a": "\\ud800"}', b"[" * 5000])
def test_a_dlcs_metadata_that_cannot_be_printed_is_refused(content: bytes) -> None:
    assert read_dlc(dlc_with("dlc.metadata2.3.0", b'{"a": 1}')).metadata["dlc.metadata2.3.0"] == {
        "a": 1
    }
    with pytest.raises(ArchiveError, match="not a readable DLC"):
        read_dlc(dlc_with("dlc.metadata2.3.0", content))
