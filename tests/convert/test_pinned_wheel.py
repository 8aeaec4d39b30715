"""The toolchains in the cache: whole or absent, checked, safe under two at once, usable offline."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import converter
from converter.errors import ToolchainError
from converter.events import Event, Notice, ignore
from converter.pinned_wheel import PinnedWheel
from targets.rvc2.myriad import toolchain as rvc2
from targets.rvc4 import toolchain as rvc4
from tests.sources import DIGITS_ARCHIVE


@dataclass(frozen=True)
class Case:
    pinned: PinnedWheel
    wheel: Path
    victim: str

    @property
    def folder(self) -> Path:
        return self.pinned.location()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module", params=["rvc2", "rvc4"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A pinned wheel, fetched once the way a user's pip fetches it."""
    pinned = {"rvc2": rvc2, "rvc4": rvc4}[request.param].PINNED
    victims = {"rvc2": "libopenvino_c.so", "rvc4": "onnxruntime_qnn/libQnnIr.so"}
    if problem := pinned.problem_with_system():
        pytest.skip(problem)
    wheel = pinned.fetch(tmp_path_factory.mktemp("wheel"))
    return Case(pinned, wheel, victims[request.param])


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


@pytest.mark.parametrize("toolchain", [rvc2, rvc4], ids=["rvc2", "rvc4"])
def test_it_is_installed_on_first_use_with_one_line_of_notice(
    own_cache: Path, toolchain: object
) -> None:
    events: list[Event] = []
    toolchain.ensure(events.append)  # type: ignore[attr-defined]
    pinned: PinnedWheel = toolchain.PINNED  # type: ignore[attr-defined]
    (notice,) = events
    assert isinstance(notice, Notice)
    assert notice.text.startswith("Fetching ")
    assert f"once: {pinned.size_mb} MB" in notice.text
    assert pinned.damage() is None
    assert leftovers(own_cache) == [pinned.location().name]
    events.clear()
    toolchain.ensure(events.append)  # type: ignore[attr-defined]
    assert not events


def test_the_size_that_is_told_is_the_wheels(case: Case) -> None:
    assert case.pinned.size_mb == pytest.approx(case.wheel.stat().st_size / 1e6, abs=1)


def test_a_warm_cache_needs_no_network(own_cache: Path, case: Case, no_index: None) -> None:
    case.pinned.install(case.wheel)
    assert case.pinned.ensure(ignore) == case.folder


def test_without_a_network_the_first_use_says_what_to_do(
    own_cache: Path, case: Case, no_index: None
) -> None:
    command = f"could not be fetched.*toolchain install {case.pinned.target} --wheel FILE"
    with pytest.raises(ToolchainError, match=command) as caught:
        case.pinned.ensure(ignore)
    assert caught.value.exit_code == 5
    assert leftovers(own_cache) == []


def test_another_wheel_is_refused(own_cache: Path, tmp_path: Path, case: Case) -> None:
    other = tmp_path / case.wheel.name
    other.write_bytes(case.wheel.read_bytes()[:-1] + b"?")
    with pytest.raises(ToolchainError, match="not the pinned wheel"):
        case.pinned.install(other)
    with pytest.raises(ToolchainError, match="cannot be read"):
        case.pinned.install(tmp_path / "nothing.whl")
    assert leftovers(own_cache) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "manifest"])
def test_a_damaged_toolchain_is_seen_and_mended(own_cache: Path, case: Case, damage: str) -> None:
    case.pinned.install(case.wheel)
    victim = case.folder / case.victim
    if damage == "missing":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:1000])
    elif damage == "changed":
        data = bytearray(victim.read_bytes())
        data[5000] ^= 1
        victim.write_bytes(data)
    else:
        (case.folder / "manifest.json").write_text("{")
    said = case.pinned.damage()
    assert said is not None
    assert "damaged" in said
    assert case.pinned.check("It").problem == said
    case.pinned.install(case.wheel)
    assert case.pinned.damage() is None
    assert leftovers(own_cache) == [case.folder.name]


def test_a_library_changed_in_the_cache_is_told_when_it_fails(
    own_cache: Path, case: Case, tmp_path: Path
) -> None:
    """Its size is right, so only the failing compile makes us read every byte."""
    case.pinned.install(case.wheel)
    victim = case.folder / case.victim
    victim.write_bytes(b"\x7fELF".ljust(victim.stat().st_size, b"\0"))
    target = case.pinned.target
    options = {"rvc4.quantization_mode": "FP16_STANDARD"} if target == "rvc4" else {}
    with pytest.raises(ToolchainError, match=rf"{victim.name} has changed.*toolchain install {target}"):
        converter.convert(
            DIGITS_ARCHIVE, target, output=tmp_path / "out.tar", options=options, toolchain="native"
        )
    assert not (tmp_path / "out.tar").exists()


def test_two_installs_at_once_both_end_well(own_cache: Path, case: Case) -> None:
    errors: list[BaseException] = []

    def install() -> None:
        try:
            case.pinned.install(case.wheel)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=install) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert case.pinned.damage() is None
    assert leftovers(own_cache) == [case.folder.name]


def test_installing_says_when_it_is_there_already(own_cache: Path, case: Case) -> None:
    events: list[Event] = []
    assert case.pinned.install_once(events.append, case.wheel) == str(case.folder)
    assert not events
    assert case.pinned.install_once(events.append, None) == str(case.folder)
    (notice,) = events
    assert isinstance(notice, Notice)
    assert "installed already" in notice.text


def test_removing_it_leaves_nothing(own_cache: Path, case: Case) -> None:
    case.pinned.install(case.wheel)
    assert case.pinned.remove()
    assert not case.pinned.remove()
    assert leftovers(own_cache) == []


def test_what_is_not_there_yet_is_no_problem(own_cache: Path, case: Case) -> None:
    check = case.pinned.check("It")
    assert check.problem is None
    assert "the first conversion fetches it" in check.detail


def test_the_licences_travel_with_the_libraries(own_cache: Path, case: Case) -> None:
    case.pinned.install(case.wheel)
    for name in case.pinned.notices:
        assert (case.folder / name).stat().st_size > 500
    holder = {"rvc2": "LICENSE", "rvc4": "onnxruntime_qnn/LICENSE"}[case.pinned.target]
    assert "MIT License" in (case.folder / holder).read_text()


def test_the_qairt_that_is_recorded_is_the_wheels(tmp_path: Path) -> None:
    """Every build record names it; the wheel says it in a file that is not unpacked."""
    import zipfile

    if problem := rvc4.PINNED.problem_with_system():
        pytest.skip(problem)
    with zipfile.ZipFile(rvc4.PINNED.fetch(tmp_path)) as wheel:
        said = wheel.read("onnxruntime_qnn/build_and_package_info.py").decode()
        metadata = wheel.read(f"onnxruntime_qnn-{rvc4.VERSION}.dist-info/METADATA").decode()
    assert f"qnn_version = '{rvc4.QAIRT}'" in said
    assert f"Requires-Dist: onnxruntime>={rvc4.OLDEST_RUNTIME}" in metadata


def test_an_older_onnx_runtime_is_refused_before_anything_is_fetched(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rvc4, "version", lambda name: "1.24.1")
    with pytest.raises(
        ToolchainError, match=r"needs ONNX Runtime 1\.24\.2 or newer; 1\.24\.1"
    ) as caught:
        rvc4.ensure(ignore)
    assert caught.value.remedy == "Run: pip install 'onnxruntime>=1.24.2'"
    assert leftovers(own_cache) == []
