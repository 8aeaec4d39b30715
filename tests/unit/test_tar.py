"""Reading refuses what is hostile or broken and names it; writing is deterministic and read by all."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter.archive import tar, xz
from converter.archive.opened import archive_name
from converter.errors import ArchiveError, UsageError
from converter.open_source import open_archive
from tests.sources import DIGITS_ARCHIVE
from tests.space import space

CONFIG = json.dumps({"model": {}}).encode()


def pack(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w:xz") -> Path:
    """A tar of whatever, as hostile as the test wants it."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", ["w:xz", "w:gz", "w:bz2", "w:"])
def test_every_compression_is_read_whatever_the_file_is_called(tmp_path: Path, mode: str) -> None:
    path = pack(tmp_path / "a.anything", [("config.json", CONFIG), ("sub/m.onnx", b"x" * 9)], mode)
    with open_archive(path) as archive:
        assert [member.name for member in archive.members] == ["config.json", "sub/m.onnx"]
        assert archive.path("sub/m.onnx").read_bytes() == b"x" * 9
        assert archive.members[1].sha256 == hashlib.sha256(b"x" * 9).hexdigest()
        root = archive.root
    assert not root.exists()


def test_a_folder_is_read_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "m.onnx").write_bytes(b"x")
    with open_archive(tmp_path) as archive:
        assert {member.name for member in archive.members} == {"config.json", "m.onnx"}
    assert (tmp_path / "m.onnx").exists()


def test_links_in_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "m.onnx").symlink_to("/etc/passwd")
    with pytest.raises(ArchiveError, match=r"m\.onnx.*link"):
        open_archive(tmp_path)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../evil", b"x"), r"'\.\./evil'.*leads out"),
        (("a/../../evil", b"x"), "leads out"),
        (("/evil", b"x"), "absolute"),
        (("a\\evil", b"x"), "backslash"),
        (("x" * 300, b"x"), "too long"),
        (link("evil", "/etc/passwd", tarfile.SYMTYPE), "symbolic link"),
        (link("evil", "config.json", tarfile.LNKTYPE), "hard link"),
        (link("evil", "", tarfile.CHRTYPE), "device"),
        (link("evil", "", tarfile.FIFOTYPE), "pipe"),
        (("config.json", b"{}"), "twice"),
    ],
)
def test_a_hostile_member_is_refused_by_name_and_nothing_is_written_outside(
    tmp_path: Path, member: tarfile.TarInfo | tuple[str, bytes], said: str
) -> None:
    path = pack(tmp_path / "a.tar.xz", [("config.json", CONFIG), member])
    work = tmp_path / "work" / "deep"
    work.mkdir(parents=True)
    with pytest.raises(ArchiveError, match=said):
        open_archive(path, work=work)
    assert [p.name for p in (tmp_path / "work").rglob("*")] == ["deep"]
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("names", [["a", "a/b"], ["a/b", "a"], ["."], ["./"], ["x/../."]])
def test_names_that_cannot_stand_side_by_side_are_refused(tmp_path: Path, names: list[str]) -> None:
    path = pack(tmp_path / "a.tar", [("config.json", CONFIG), *((name, b"x") for name in names)], "w:")
    with pytest.raises(ArchiveError):
        open_archive(path)


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "a,b", "GNU.sparse.size": "1"},
        {"GNU.sparse.size": "x"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "5"},
        {"size": "x"},
        {"path": "../evil"},
    ],
)
def test_odd_pax_headers_are_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    info = tarfile.TarInfo("m.onnx")
    info.pax_headers = headers
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    with pytest.raises(ArchiveError):
        open_archive(path)


def test_all_hostile_members_are_named_at_once(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.xz", [("../a", b""), ("/b", b""), link("c", "x", tarfile.SYMTYPE)])
    with pytest.raises(ArchiveError) as caught:
        open_archive(path)
    assert [finding.where for finding in caught.value.findings] == ["'../a'", "'/b'", "'c'"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["m.onnx"], "no config.json"),
        (["./config.json"], r"'\./config\.json'"),
        (["sub/config.json"], "sub/config.json"),
        (["config.json", "sub/config.json"], "more than one"),
        (["config.json", "./config.json"], "twice"),
    ],
)
def test_the_config_is_found_only_where_readers_find_it(
    tmp_path: Path, names: list[str], said: str
) -> None:
    path = pack(tmp_path / "a.tar", [(name, CONFIG) for name in names], "w:")
    with pytest.raises(ArchiveError, match=said):
        open_archive(path)


@pytest.mark.parametrize("packed", ["xz", "gz", "bz2", ""])
def test_a_file_cut_short_names_the_member_that_broke(tmp_path: Path, packed: str) -> None:
    noise = np.random.default_rng(0).bytes(3_000_000)
    whole = tmp_path / "whole.tar"
    pack(whole, [("config.json", CONFIG), ("model.onnx", noise)], f"w:{packed}")
    data = whole.read_bytes()
    for share in (0.5, 0.9):
        broken = tmp_path / "broken.tar"
        broken.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(ArchiveError, match=r"(cut short|damaged).*model\.onnx"):
            open_archive(broken)


def test_a_broken_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar", [("config.json", CONFIG), ("model.onnx", b"x" * 2000)], "w:")
    data = bytearray(path.read_bytes())
    data[data.find(b"model.onnx") + 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"damaged at what follows 'config\.json'"):
        open_archive(path)


@pytest.mark.parametrize("packed", ["xz", "gz", "bz2"])
def test_a_flipped_byte_is_found(tmp_path: Path, packed: str) -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    path = pack(tmp_path / "a", [("config.json", CONFIG), ("model.onnx", noise)], f"w:{packed}")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match="damaged"):
        open_archive(path)


@pytest.mark.parametrize(
    ("opener", "blocks"),
    [(partial(lzma.open, preset=0), 256), (partial(gzip.open, compresslevel=1), 64), (bz2.open, 64)],
)
def test_a_bomb_is_refused_before_it_fills_anything(
    tmp_path: Path, opener: Callable[..., IO[bytes]], blocks: int
) -> None:
    path = tmp_path / "bomb.tar"
    info = tarfile.TarInfo("model.onnx")
    info.size = 1 << 30
    with opener(path, "wb") as packed:
        packed.write(info.tobuf())
        for _ in range(blocks):
            packed.write(bytes(1 << 22))
    assert path.stat().st_size < 2 << 20
    with pytest.raises(ArchiveError, match="bomb"):
        open_archive(path, work=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["bomb.tar"]


def test_a_bomb_of_members_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.tar.xz", [(f"f{i}", b"") for i in range(300)])
    with pytest.raises(ArchiveError, match="more than 200 members"):
        open_archive(path, limits=tar.Limits(members=200))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04rest", "a zip"),
        (b'{"a": 1}', "JSON"),
        (b"\x00\x01garbage" * 100, "neither a tar"),
    ],
)
def test_what_is_no_archive_is_told_so(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.tar.xz"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=said):
        open_archive(path)


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_archive(tmp_path / "nothing.tar.xz")
    with pytest.raises(UsageError, match="is no regular file"):
        open_archive("/dev/null")


def test_a_folder_that_is_no_archive_is_not_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "notes.txt").touch()
    monkeypatch.setattr("converter.archive.opened._folder_members", lambda _folder: pytest.fail("read"))
    with pytest.raises(ArchiveError, match=r"has no config\.json .*some/notes\.txt"):
        open_archive(tmp_path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (b"{", r"not JSON.*line 1"),
        (b"[]", "no JSON object"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": 1, "a": 2}', "'a'.*twice"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "nested too deeply"),
        (b'{"a": 1e999}', "1e999"),
        (b'{"a": "\\ud800"}', "surrogate"),
    ],
)
def test_a_broken_config_is_told_so(tmp_path: Path, config: bytes, said: str) -> None:
    path = pack(tmp_path / "a.tar.gz", [("config.json", config)], "w:gz")
    with pytest.raises(ArchiveError, match=said):
        open_archive(path)


def test_only_archive_suffixes_are_cut_from_a_name() -> None:
    assert archive_name("yolov8n.v1.0.tar.xz") == "yolov8n.v1.0"
    assert archive_name("a.tar") == "a"
    assert archive_name("a.b") == "a.b"


# ---------------------------------------------------------------- writing


def weights(kind: str, size: int = 9 << 20) -> bytes:
    values = np.random.default_rng(1).normal(0, 0.05, size // 4)
    if kind == "int8":
        return (values * 400).clip(-128, 127).astype(np.int8).tobytes()
    return values.astype(kind).tobytes()


@pytest.mark.parametrize("compression", ["xz", "gz", "bz2", ""])
def test_the_same_files_give_the_same_bytes(tmp_path: Path, compression: tar.Compression) -> None:
    file = tmp_path / "w"
    file.write_bytes(weights("float16"))
    made = []
    for threads in (1, 2, 3):
        buffer = io.BytesIO()
        tar.write(buffer, [("config.json", CONFIG), ("sub/w", file)], compression, threads=threads)
        made.append(buffer.getvalue())
        file.touch()
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("kind", ["float16", "float32", "int8"])
def test_every_reader_takes_what_we_write(tmp_path: Path, kind: str) -> None:
    content = weights(kind)
    file = tmp_path / "w.bin"
    file.write_bytes(content)
    path = tmp_path / "a.tar.xz"
    long_name = "folder/" * 20 + "näme.bin"
    with path.open("wb") as out:
        tar.write(out, [("config.json", CONFIG), ("w.bin", file), (long_name, b"small")])
    with tarfile.open(path) as archive:
        assert archive.getnames() == ["config.json", "w.bin", long_name]
        assert archive.extractfile("w.bin").read() == content  # type: ignore[union-attr]
    gnu = tmp_path / "gnu"
    gnu.mkdir()
    subprocess.run([shutil.which("tar") or "tar", "-xJf", path, "-C", gnu], check=True)
    assert (gnu / "w.bin").read_bytes() == content
    assert (gnu / long_name).read_bytes() == b"small"
    with open_archive(path) as opened:
        assert opened.path("w.bin").read_bytes() == content


@pytest.mark.parametrize(("kind", "at_most"), [("float16", 0.96), ("float32", 1.0), ("int8", 1.01)])
def test_weights_are_packed_no_larger_than_with_preset_6(kind: str, at_most: float) -> None:
    content = weights(kind, 8 << 20)
    buffer = io.BytesIO()
    writer = xz.XzWriter(buffer)
    writer.write(content)
    writer.close()
    assert len(buffer.getvalue()) <= at_most * len(lzma.compress(content, preset=6))


@space(30)
@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(0, 3))
def test_whatever_goes_in_comes_out(pieces: list[bytes], repeat: int) -> None:
    buffer = io.BytesIO()
    writer = xz.XzWriter(buffer)
    for piece in pieces:
        writer.write(piece * 10**repeat)
    writer.close()
    assert lzma.decompress(buffer.getvalue()) == b"".join(piece * 10**repeat for piece in pieces)


def test_the_example_is_in_the_repository() -> None:
    with open_archive(DIGITS_ARCHIVE) as archive:
        assert archive.config["model"]["metadata"]["path"] == "digits.onnx"
