"""The toolchain in the cache: whole or absent, checked, safe under two at once, usable offline."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import converter
from converter.errors import ToolchainError
from converter.events import Event, Notice, ignore
from targets.rvc2.myriad import toolchain as rvc2
from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import DIGITS_ARCHIVE


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pinned wheel, fetched once the way a user's pip fetches it."""
    return rvc2._fetch(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pip that reaches nothing."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    yield


def leftovers(cache: Path) -> list[str]:
    folder = cache / "nnconvert" / "toolchains"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_it_is_installed_on_first_use_with_one_line_of_notice(own_cache: Path) -> None:
    events: list[Event] = []
    made = rvc2.ensure(events.append)
    assert made.libraries.is_dir()
    assert [type(event) for event in events] == [Notice]
    assert rvc2.check() is None
    assert leftovers(own_cache) == [rvc2.location().name]
    events.clear()
    rvc2.ensure(events.append)
    assert not events


def test_a_warm_cache_needs_no_network(own_cache: Path, wheel: Path, no_index: None) -> None:
    rvc2.install(wheel)
    assert rvc2.ensure(ignore).libraries == rvc2.location()


def test_without_a_network_the_first_use_says_what_to_do(own_cache: Path, no_index: None) -> None:
    with pytest.raises(ToolchainError, match=r"could not be fetched.*--wheel FILE") as caught:
        rvc2.ensure(ignore)
    assert caught.value.exit_code == 5
    assert leftovers(own_cache) == []


def test_another_wheel_is_refused(own_cache: Path, tmp_path: Path, wheel: Path) -> None:
    other = tmp_path / wheel.name
    other.write_bytes(wheel.read_bytes()[:-1] + b"?")
    with pytest.raises(ToolchainError, match="not the pinned wheel"):
        rvc2.install(other)
    with pytest.raises(ToolchainError, match="cannot be read"):
        rvc2.install(tmp_path / "nothing.whl")
    assert leftovers(own_cache) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "manifest"])
def test_a_damaged_toolchain_is_seen_and_mended(own_cache: Path, wheel: Path, damage: str) -> None:
    rvc2.install(wheel)
    victim = rvc2.location() / "libopenvino_c.so"
    if damage == "missing":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:1000])
    elif damage == "changed":
        data = bytearray(victim.read_bytes())
        data[5000] ^= 1
        victim.write_bytes(data)
    else:
        (rvc2.location() / "manifest.json").write_text("{")
    said = rvc2.check()
    assert said is not None
    assert "damaged" in said
    rvc2.install(wheel)
    assert rvc2.check() is None
    assert leftovers(own_cache) == [rvc2.location().name]


def test_a_library_changed_in_the_cache_is_told_when_it_fails(
    own_cache: Path, wheel: Path, tmp_path: Path
) -> None:
    """Its size is right, so only the failing compile makes us read every byte."""
    rvc2.install(wheel)
    victim = rvc2.location() / "libopenvino_c.so"
    victim.write_bytes(b"\x7fELF".ljust(victim.stat().st_size, b"\0"))
    with pytest.raises(ToolchainError, match=r"libopenvino_c\.so has changed.*toolchain install"):
        converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "out.tar")
    assert not (tmp_path / "out.tar").exists()


def test_two_installs_at_once_both_end_well(own_cache: Path, wheel: Path) -> None:
    errors: list[BaseException] = []

    def install() -> None:
        try:
            rvc2.install(wheel)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert rvc2.check() is None
    assert leftovers(own_cache) == [rvc2.location().name]


def test_removing_it_leaves_nothing(own_cache: Path, wheel: Path) -> None:
    rvc2.install(wheel)
    assert rvc2.remove()
    assert not rvc2.remove()
    assert leftovers(own_cache) == []


def test_an_unfit_machine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rvc2.platform, "machine", lambda: "aarch64")
    with pytest.raises(ToolchainError, match="aarch64"):
        rvc2.ensure(ignore)


def test_the_licences_travel_with_the_libraries(toolchain: Toolchain) -> None:
    assert "Microsoft" in (toolchain.libraries / "LICENSE").read_text()
    assert shutil.which("python3") or sys.executable
