"""Readers of compiled files and the patches of a superblob, without the compiler."""

from __future__ import annotations

import bz2
import struct
from pathlib import Path

import bsdiff4
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converter import plan
from converter.errors import ArchiveError, ToolError
from targets.rvc2.blob import bzip2
from targets.rvc2.blob.check import checked
from targets.rvc2.blob.patches import Base
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.superblob import checked_patch, make_superblob, read_superblob
from targets.rvc2.parameters import Parameters
from targets.rvc2.steps import _Patching
from tests.archives import blob_double
from tests.sources import RGB, conv_model, write_folder
from tests.space import space


def fake_blob(shaves: int, constants: bytes, stages: bytes = b"", *, at: int = 320) -> bytes:
    """A blob's header without tensors, for readers; no compiler wrote it."""
    begin = at + len(stages)
    size = begin + len(constants)
    fields = [9709, size, 6, 0, 0, 0, 3, 0, 0, 1, 0, shaves, shaves, 1, 1, 1, 192, 256, at, begin]
    header = b"\x7felf" + bytes(48) + struct.pack("<20I", *fields)
    return header.ljust(at, b"\0") + stages + constants


@space(40)
@given(st.lists(st.one_of(st.binary(max_size=2000), st.integers(0, 400_000)), max_size=6))
def test_a_stream_of_blocks_is_what_bzip2_reads(parts: list[bytes | int]) -> None:
    whole = b"".join(part if isinstance(part, bytes) else bytes(part) for part in parts)
    assert bz2.decompress(bzip2.compress(parts)) == whole


def test_zero_runs_and_full_blocks_are_split_and_joined() -> None:
    rng = np.random.default_rng(0)
    data = np.zeros(5_000_000, np.uint8)
    data[1_000_000:2_900_000] = rng.integers(0, 256, 1_900_000)
    parts = bzip2.split_zero_runs(data)
    assert parts[0] == 1_000_000
    assert bz2.decompress(bzip2.compress(parts)) == data.tobytes()


@space(25)
@given(st.integers(0, 2**32), st.integers(0, 5), st.booleans())
def test_a_patch_gives_the_other_blob_back_whatever_moved(seed: int, moves: int, plain: bool) -> None:
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 256, 120_000).astype(np.uint8)
    new = old.copy()
    for _ in range(moves):
        start, size = int(rng.integers(0, 60_000)), int(rng.integers(1, 40_000))
        piece = new[start : start + size].copy()
        new = np.insert(np.delete(new, slice(start, start + size)), int(rng.integers(0, 50_000)), piece)
        new = np.insert(
            new, int(rng.integers(0, len(new))), rng.integers(0, 256, int(rng.integers(0, 900)))
        )
    a = fake_blob(8, old.tobytes(), b"stages" * 40)
    b = fake_blob(3, new.astype(np.uint8).tobytes(), b"stages" * int(rng.integers(1, 80)))
    if plain:  # a header that does not parse is patched by plain bsdiff
        b = b[:52] + b"\0\0\0\0" + b[56:]
    patch = Base(a).patch_to(b)
    assert patch.startswith(b"BSDIFF40")
    assert bsdiff4.patch(a, patch) == b


def test_a_superblob_is_read_as_it_was_written() -> None:
    rng = np.random.default_rng(1)
    constants = rng.bytes(50_000)
    blobs = {shaves: fake_blob(shaves, constants, rng.bytes(40 * shaves)) for shaves in range(1, 17)}
    others = {shaves: blob for shaves, blob in blobs.items() if shaves != 8}
    base = Base(blobs[8])
    patches = {shaves: checked_patch(base, blob) for shaves, blob in others.items()}
    data = make_superblob(blobs[8], patches).to_bytes()
    read = read_superblob(data)
    assert {shaves: read.blob(shaves) for shaves in blobs} == blobs
    with pytest.raises(ToolError, match=r"\[3\]"):
        make_superblob(blobs[8], {k: v for k, v in patches.items() if k != 3})
    for cut in (len(data) - 1, len(data) // 2, 140, 60, 0):
        with pytest.raises(ArchiveError):
            read_superblob(data[:cut])
    with pytest.raises(ArchiveError, match="BSDIFF40"):
        read_superblob(data.replace(b"BSDIFF40", b"BSDIFF41", 1))


def test_a_superblobs_patches_lie_where_depthai_looks_for_them() -> None:
    """Seventeen big-endian sizes, the base, the patches for 1 to 16 SHAVEs; taken apart by hand."""
    base = fake_blob(8, b"constants" * 300)
    others = {n: fake_blob(n, b"constants" * (300 + n)) for n in range(1, 17) if n != 8}
    made = make_superblob(base, {n: checked_patch(Base(base), blob) for n, blob in others.items()})
    data = made.to_bytes()
    sizes = struct.unpack(">17q", data[:136])
    assert (sizes[0], sizes[8]) == (len(base), 0)
    assert data[136 : 136 + len(base)] == base
    at = 136 + len(base)
    for shaves in range(1, 17):
        patch = data[at : at + sizes[shaves]]
        at += sizes[shaves]
        if shaves != 8:
            assert bsdiff4.patch(base, patch) == others[shaves]
    assert at == len(data)


@pytest.mark.parametrize("base", [8, 4])
def test_patches_are_made_to_the_blob_of_the_chosen_shaves(tmp_path: Path, base: int) -> None:
    """The compiler hands its blobs over as they are done, the base first."""
    parameters = asked(tmp_path / "net", **{"rvc2.superblob": True, "rvc2.number_of_shaves": base})
    patching = _Patching(parameters)
    blobs = {shaves: blob_double(shaves=shaves) for shaves in parameters.shave_counts}
    for shaves, blob in blobs.items():
        path = tmp_path / f"{shaves}.blob"
        path.write_bytes(blob)
        patching.take(shaves, path)
    made = read_superblob(patching.finish().to_bytes())
    assert made.header.shaves == base
    for shaves, patch in made.patches.items():
        assert bsdiff4.patch(made.base, patch) == blobs[shaves], shaves


def asked(folder: Path, **options: object) -> Parameters:
    """What a blob of the net behind `blob_double` is asked to be."""
    source = write_folder(folder, conv_model(), preprocessing=RGB)
    found = plan(source, "rvc2", options=options, toolchain="native").parameters
    assert isinstance(found, Parameters)
    return found


@pytest.mark.parametrize(
    ("options", "shaves", "said"),
    [
        ({}, 6, "SHAVE cores: 6 asked for, 8 compiled"),
        ({"rvc2.number_of_cmx_slices": 5}, 8, "CMX slices: 5 asked for, 8 compiled"),
        ({"preprocess": "archive"}, 8, "images: float16 asked for, uint8 compiled"),
        ({"outputs.map.data_type": "float32"}, 8, "map: float32 asked for, float16 compiled"),
        (
            {"rvc2.interleaved_input": True},
            8,
            "images: [1, 12, 16, 3] asked for, [1, 3, 12, 16] compiled",
        ),
    ],
)
def test_a_blob_is_held_against_what_was_asked_for(
    tmp_path: Path, options: dict[str, object], shaves: int, said: str
) -> None:
    path = tmp_path / "m.blob"
    path.write_bytes(blob_double())
    assert checked(path, 8, asked(tmp_path / "net")).shaves == 8
    with pytest.raises(ToolError) as caught:
        checked(path, shaves, asked(tmp_path / "net", **options))
    assert said in " ".join(str(finding) for finding in caught.value.findings)


def test_a_patch_that_does_not_give_the_blob_back_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    blobs = {shaves: fake_blob(shaves, rng.bytes(2000)) for shaves in range(1, 17)}
    monkeypatch.setattr(Base, "patch_to", lambda self, new: bsdiff4.diff(self.blob, new[:-1] + b"?"))
    with pytest.raises(ToolError, match="does not give its blob back"):
        checked_patch(Base(blobs[8]), blobs[3])


@space(300)
@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_are_a_blob_or_a_clean_error(noise: bytes, at: int, value: int) -> None:
    blob = bytearray(fake_blob(8, b"constants" * 20))
    blob[min(at, len(blob) - 1)] = value
    for data in (noise, bytes(blob), bytes(blob)[:at]):
        try:
            read_blob(data)
        except ArchiveError:
            continue
