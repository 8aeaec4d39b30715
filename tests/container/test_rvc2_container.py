"""RVC2 in a container of our image: the same bytes as natively, and what happens when things go wrong.

The compiler in the image is the real one. compile_tool of OpenVINO 2022.3 is a DOUBLE: no image with it
could be had.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import converter
from converter.container import Engine, Image
from converter.errors import ModelError, ToolchainError, ToolError
from converter.events import ToolSaid, ignore
from targets.rvc2.blob.read import read_blob
from targets.rvc2.blob.superblob import read_superblob
from targets.rvc2.myriad.image import recipe
from targets.rvc2.myriad.toolchain import Toolchain
from tests.conftest import RESTART
from tests.container.test_container import ours
from tests.engine import derived
from tests.sources import DIGITS_ARCHIVE, RGB, conv_model, one_op_model, write_folder

NNCONVERT = Path(sys.executable).parent / "nnconvert"
IMAGE = "localhost/nnconvert/rvc2:2022.2"


@pytest.fixture(scope="module", autouse=True)
def image(engine: Engine, debian: Image, toolchain: Toolchain) -> Image:
    """Our image, built from Debian."""
    from converter.container.build import build

    return build(recipe(debian.name, ignore), ignore, engine_address=engine.socket)


@pytest.fixture(autouse=True)
def in_reach(reachable: Engine) -> Iterator[None]:
    yield
    assert ours(reachable) == []


def member(path: Path, name: str) -> bytes:
    with tarfile.open(path) as archive:
        found = archive.extractfile(name)
        assert found is not None
        return found.read()


def both(source: Path, folder: Path, **options: Any) -> tuple[bytes, bytes, dict[str, Any]]:
    """The compiled file natively and from the container, and the container's record."""
    files = []
    for toolchain in ("native", "container"):
        done = converter.convert(
            source, "rvc2", output=folder / f"{toolchain}.tar", options=options, toolchain=toolchain
        )
        with tarfile.open(done.output) as archive:
            files.append(member(done.output, archive.getnames()[-1]))
    record = json.loads(member(folder / "container.tar", "buildinfo.json"))
    return files[0], files[1], record


def test_the_image_is_small_and_has_no_shell(engine: Engine, image: Image) -> None:
    assert image.size_bytes < 150e6
    listing = engine.client.containers.run(
        image.id, ["-c", "import shutil; print(shutil.which('sh'))"], remove=True, network_mode="none"
    )
    assert listing == b"None\n"


@pytest.mark.parametrize(
    "options",
    [{}, {"rvc2.number_of_shaves": 3}, {"rvc2.superblob": True}, {"preprocess": "archive"}],
    ids=["default", "3 shaves", "superblob", "preprocess archive"],
)
def test_its_files_are_the_native_ones_to_the_byte(tmp_path: Path, options: dict[str, Any]) -> None:
    native, contained, record = both(DIGITS_ARCHIVE, tmp_path, **options)
    assert contained == native
    assert record["toolchain"] == "container"
    assert record["verification"]["status"] == "passed"


def test_interleaved_frames_in_another_colour_are_the_same_too(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    native, contained, record = both(folder, tmp_path, **{"rvc2.interleaved_input": True})
    assert contained == native
    assert "the blob, every stage executed" in record["verification"]["checked_on"]


def test_plan_and_record_name_the_image(tmp_path: Path, image: Image) -> None:
    plan = converter.plan(DIGITS_ARCHIVE, "rvc2", toolchain="container")
    (step,) = [step for step in plan.to_json()["steps"] if step["name"] == "compile"]
    assert step["call"]["image"] == image.id
    assert plan.hash != converter.plan(DIGITS_ARCHIVE, "rvc2").hash
    done = converter.convert(DIGITS_ARCHIVE, "rvc2", output=tmp_path / "x.tar", toolchain="container")
    record = json.loads(member(done.output, "buildinfo.json"))
    assert image.id in json.dumps(record["plan"]["steps"])


def test_it_needs_no_native_toolchain(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "empty"))
    argv = ["convert", "--target", "rvc2", str(DIGITS_ARCHIVE), "--toolchain", "container"]
    done = subprocess.run([NNCONVERT, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("digits.rvc2.tar.xz\n")
    assert not (here / "empty" / "nnconvert").exists()


def test_what_cannot_run_is_named_before_a_container_starts(tmp_path: Path) -> None:
    model = one_op_model("Det", {"x": (1, 4, 4)}, shape=(1,))
    folder = write_folder(tmp_path / "det", model, image=False, layout="NHW")
    with pytest.raises(ModelError, match="Myriad X has no such operator") as error:
        converter.convert(folder, "rvc2", output=tmp_path / "x.tar", toolchain="container")
    assert "the_Det" in error.value.message
    assert not (tmp_path / "x.tar").exists()


def test_the_tools_lines_are_events(tmp_path: Path) -> None:
    events: list[Any] = []
    converter.convert(
        DIGITS_ARCHIVE, "rvc2", output=tmp_path / "x.tar", toolchain="container", on_event=events.append
    )
    assert not [event for event in events if isinstance(event, ToolSaid) and not event.text.strip()]


@pytest.mark.parametrize(
    "options", [{}, {"rvc2.interleaved_input": True}, {"rvc2.superblob": True}], ids=str
)
def test_a_double_of_compile_tool_gets_what_the_compiler_needs(
    tmp_path: Path, engine: Engine, image: Image, options: dict[str, Any]
) -> None:
    """For OpenVINO 2022.3: an IR, every precision by name, layouts, and the settings of each compile."""
    tool = (Path(__file__).parents[1] / "doubles" / "compile_tool_myriad").read_bytes()
    lines = "COPY compile_tool /usr/local/bin/compile_tool"
    double = derived(engine, image.name, "nnconvert-test/2022.3:1", lines, {"compile_tool": tool})
    folder = write_folder(tmp_path / "net", conv_model(), preprocessing=RGB)
    done = converter.convert(
        folder,
        "rvc2",
        output=tmp_path / "x.tar",
        toolchain="container",
        options={**options, "container.image": double.name, "rvc2.tool_version": "2022.3.0"},
    )
    assert done.verification["outputs"]["map"]["rel_rmse"] < 2e-3
    assert "the blob, every stage executed" in done.verification["checked_on"]
    suffix = "superblob" if options.get("rvc2.superblob") else "blob"
    data = member(done.output, f"model.{suffix}")
    if suffix == "superblob":
        assert [read_superblob(data).blob(n) is not None for n in (1, 8, 16)] == [True] * 3
    else:
        (item,) = read_blob(data).inputs
        assert (item.dtype, item.order) == ("uint8", "NHWC" if options else "NCHW")


# ----------------------------------------------------------------- no image


def test_without_the_image_the_cure_is_named() -> None:
    with pytest.raises(ToolchainError, match="has no image no/such:image") as error:
        converter.plan(
            DIGITS_ARCHIVE, "rvc2", toolchain="container", options={"container.image": "no/such:image"}
        )
    assert error.value.exit_code == 5
    assert error.value.remedy == "Run: docker pull no/such:image"
    with pytest.raises(ToolchainError, match=r"modelconverter-rvc2:2022\.3\.0-latest") as error:
        converter.plan(
            DIGITS_ARCHIVE, "rvc2", toolchain="container", options={"rvc2.tool_version": "2022.3.0"}
        )
    assert "nnconvert toolchain install rvc2 --toolchain container" in error.value.remedy


def test_an_image_of_another_version_is_not_used(engine: Engine, image: Image) -> None:
    old = derived(engine, image.name, "nnconvert-test/old:1", "LABEL nnconvert.contents=old")
    with pytest.raises(ToolchainError, match="not built by this version") as error:
        converter.plan(
            DIGITS_ARCHIVE, "rvc2", toolchain="container", options={"container.image": old.name}
        )
    assert error.value.remedy.startswith("Run: nnconvert toolchain build rvc2")


def test_a_pull_that_is_refused_is_exit_code_5(here: Path) -> None:
    argv = ["toolchain", "install", "rvc2", "--toolchain", "container"]
    # No registry listens there: loopback, port 1.
    image = "container.image=127.0.0.1:1/no/such:image"
    done = subprocess.run([NNCONVERT, *argv, image], capture_output=True, text=True)
    assert done.returncode == 5
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: The image 127.0.0.1:1/no/such:image could not be fetched")
    assert "docker pull" in last


def test_the_image_is_built_by_a_command(here: Path, debian: Image, image: Image) -> None:
    argv = ["toolchain", "build", "rvc2", "--base", debian.name]
    done = subprocess.run([NNCONVERT, *argv], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{IMAGE}\n"
    wrong = subprocess.run([NNCONVERT, *argv, "--sdk", "x.zip"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "needs no SDK" in wrong.stderr


# ------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 64 MiB, whose blob has 32."""
    weights = np.ones((4096, 4096), np.float32)
    model = one_op_model("MatMul", {"x": (1, 4096)}, constants={"w": weights}, shape=(1, 4096))
    return write_folder(tmp_path_factory.mktemp("heavy") / "heavy", model, image=False, layout="NC")


def test_too_little_memory_is_told_with_the_limit(tmp_path: Path, heavy: Path) -> None:
    with pytest.raises(
        ToolError, match=r"ran out of memory: its container may take 0\.098 GiB"
    ) as error:
        converter.convert(
            heavy,
            "rvc2",
            output=tmp_path / "x.tar",
            toolchain="container",
            options={"container.memory": "100m", "verify.enabled": False},
        )
    assert "container.memory=" in error.value.remedy
    assert not list(tmp_path.glob("*.tar"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of its own, so that what is left there shows."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def started(argv: list[str], engine: Engine) -> subprocess.Popen[str]:
    """A conversion of sixteen blobs whose container runs."""
    child = subprocess.Popen(
        [NNCONVERT, "convert", "--target", "rvc2", str(DIGITS_ARCHIVE), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):
        if ours(engine) or child.poll() is not None:
            break
        time.sleep(0.05)
    return child


ARGV = ["--toolchain", "container", "rvc2.superblob", "true", "-o", "out.tar.xz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_container_no_files_and_says_so(
    here: Path, temporary: Path, engine: Engine, number: signal.Signals
) -> None:
    with started(ARGV, engine) as child:
        time.sleep(1)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "Cancelled; nothing was written." in said
    assert ours(engine) == []
    assert list(temporary.iterdir()) == list(here.iterdir()) == []


def test_after_a_kill_the_next_run_tidies_up_and_works(
    here: Path, temporary: Path, engine: Engine
) -> None:
    with started(ARGV, engine) as child:
        time.sleep(1)
        child.kill()
        child.communicate()
    assert len(ours(engine)) == 1
    assert list(temporary.iterdir()) != []
    done = subprocess.run(
        [NNCONVERT, "convert", "--target", "rvc2", str(DIGITS_ARCHIVE), *ARGV],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert ours(engine) == []
    assert list(temporary.iterdir()) == []
    assert [path.name for path in here.iterdir()] == ["out.tar.xz"]


def test_a_container_that_is_killed_from_outside_is_an_error_that_says_so(
    here: Path, temporary: Path, engine: Engine
) -> None:
    with started(ARGV, engine) as child:
        time.sleep(0.5)
        for name in ours(engine):
            engine.client.api.kill(name)
        _, said = child.communicate(timeout=60)
    assert child.returncode == 6
    assert "its container was ended from outside" in said
    assert list(temporary.iterdir()) == list(here.iterdir()) == []


def test_two_at_once_do_not_meet(here: Path, temporary: Path, engine: Engine) -> None:
    argv = ["--toolchain", "container", "-o"]
    pair = [started([*argv, f"{name}.tar"], engine) for name in ("one", "two")]
    for child in pair:
        _, said = child.communicate(timeout=300)
        assert child.returncode == 0, said
    assert member(here / "one.tar", "digits.blob") == member(here / "two.tar", "digits.blob")
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing(
    tmp_path: Path, here: Path, heavy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", disk], check=True)
    try:
        monkeypatch.setenv("TMPDIR", str(disk))
        argv = ["--target", "rvc2", str(heavy), "--toolchain", "container", "--no-verify"]
        done = subprocess.run([NNCONVERT, "convert", *argv], capture_output=True, text=True)
        assert done.returncode == 6, done.stderr
        assert "disk is full" in done.stderr
        assert list(disk.iterdir()) == list(here.iterdir()) == []
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_engine_that_is_restarted_in_the_middle_is_told(
    here: Path, temporary: Path, engine: Engine
) -> None:
    state = os.environ.get("NNCONVERT_TEST_ENGINE")
    if state is None:
        pytest.skip(RESTART)
    control = Path(__file__).parents[2] / ".ci" / "engine"
    with started(ARGV, engine) as child:
        time.sleep(0.5)
        subprocess.run([control, "stop", state], check=True)
        _, said = child.communicate(timeout=120)
    subprocess.run([control, "start", state], check=True)
    assert child.returncode == 6
    assert "container engine failed or went away" in said or "ended from outside" in said
    assert list(temporary.iterdir()) == list(here.iterdir()) == []
    done = subprocess.run(
        [NNCONVERT, "convert", "--target", "rvc2", str(DIGITS_ARCHIVE), *ARGV],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
