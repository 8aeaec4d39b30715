"""The command line: exit codes, one-line errors, JSON, progress, a light start, clean ends."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from converter.cli import main
from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import DIGITS_ARCHIVE, RGB, config_for, conv_model, make_model, write_folder

HEAVY = (
    *("numpy", "onnx", "onnx_ir", "onnxruntime", "onnxslim", "luxonis_ml", "yaml", "PIL", "pydantic"),
    *("sqlalchemy", "alembic", "fsspec", "fastapi", "uvicorn", "prometheus_client", "requests"),
)


def nnconvert(*words: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", "from converter.cli import main; main()", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300, **more)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A TMPDIR of the test's own, to see what is left in it."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_convert_ends_with_the_output_path(here: Path, temporary: Path, toolchain: Toolchain) -> None:
    done = nnconvert("convert", "--target", "rvc2", DIGITS_ARCHIVE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "digits.rvc2.tar.xz\n"
    assert [line for line in done.stderr.splitlines() if line.startswith("[")] == [
        "[1/4] Preparing the graph",
        "[2/4] Compiling for MYRIAD",
        "[3/4] Comparing with the source",
        "[4/4] Packing",
    ]
    assert "not on a camera" in done.stderr
    assert left_in(here) == ["digits.rvc2.tar.xz"]
    assert left_in(temporary) == []


def test_a_folder_named_from_here_is_converted(here: Path, toolchain: Toolchain) -> None:
    write_folder(here / "net", conv_model(), preprocessing=RGB)
    done = nnconvert("convert", "-t", "rvc2", "net", "--keep-work", "work")
    assert done.returncode == 0, done.stderr
    assert left_in(here) == ["net", "net.rvc2.tar.xz", "work"]


def test_json_is_one_document_of_the_contract(here: Path, toolchain: Toolchain) -> None:
    done = nnconvert("convert", "--target", "rvc2", DIGITS_ARCHIVE, "-o", "a.tar", "--json")
    document = json.loads(done.stdout)
    assert set(document) >= {
        "output", "sha256", "plan_hash", "target", "toolchain", "model", "verification", "warnings",
        "timings_s", "cache",
    }  # fmt: skip
    assert document["verification"]["status"] == "passed"
    assert set(document["verification"]["outputs"]["scores"]) >= {
        "cosine",
        "rel_rmse",
        "max_abs",
        "top1",
    }
    assert document["model"]["inputs"][0]["dai_type"] == "BGR888p"


def test_dry_run_and_plan_are_the_same_and_run_nothing(here: Path, temporary: Path) -> None:
    words = ("--target", "rvc2", DIGITS_ARCHIVE, "rvc2.superblob", "true", "--json")
    dry, plan = nnconvert("convert", *words, "--dry-run"), nnconvert("plan", *words)
    assert dry.stdout == plan.stdout
    document = json.loads(plan.stdout)
    assert list(document) == [
        "target", "toolchain", "hash", "model", "parameters", "steps", "warnings", "origins",
    ]  # fmt: skip
    assert [step["name"] for step in document["steps"]] == [
        "prepare", "compile", "superblob", "verify", "pack",
    ]  # fmt: skip
    assert document["origins"]["rvc2.superblob"] == {"value": True, "origin": "command line"}
    assert left_in(here) == left_in(temporary) == []


def test_explain_says_who_set_what(here: Path) -> None:
    Path("options.yaml").write_text("rvc2: {number_of_shaves: 6}\n")
    done = nnconvert(
        "plan",
        "-t",
        "rvc2",
        DIGITS_ARCHIVE,
        "--preset",
        "superblob",
        "--config",
        "options.yaml",
        "--explain",
    )
    assert "(file options.yaml)" in done.stdout
    assert "(preset superblob)" in done.stdout
    assert "(default)" in done.stdout


def test_inspect_lint_and_doctor(here: Path, toolchain: Toolchain) -> None:
    assert nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE, "rvc2.superblob=true").returncode == 0
    shown = nnconvert("inspect", "digits.rvc2.tar.xz")
    assert "superblob for rvc2, version 6.0, 8 SHAVE cores" in shown.stdout
    assert 'dai.NNArchive("digits.rvc2.tar.xz")' in shown.stdout
    subprocess.run(["tar", "-xJf", "digits.rvc2.tar.xz", "digits.superblob"], check=True)
    assert "dai.OpenVINO.SuperBlob" in nnconvert("inspect", "digits.superblob").stdout
    assert json.loads(nnconvert("inspect", "digits.superblob", "--json").stdout)["kind"] == "superblob"
    assert "ONNX opset 14" in nnconvert("inspect", DIGITS_ARCHIVE).stdout
    for archive in (DIGITS_ARCHIVE, "digits.rvc2.tar.xz"):
        assert nnconvert("lint", archive).returncode == 0
    doctor = nnconvert("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert "OpenVINO 2022.2 (OpenVINO: Apache-2.0" in doctor.stdout


def test_lint_finds_what_a_camera_trips_over(tmp_path: Path, here: Path, toolchain: Toolchain) -> None:
    nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE)
    broken = tmp_path / "broken"
    broken.mkdir()
    subprocess.run(["tar", "-xJf", "digits.rvc2.tar.xz", "-C", broken], check=True)
    config = json.loads((broken / "config.json").read_text())
    item = config["model"]["inputs"][0]
    item["shape"], item["preprocessing"]["dai_type"] = [1, 3, 32, 33], None
    config["model"]["heads"][0] |= {"outputs": ["nothing"]}
    config["model"]["heads"][0]["metadata"]["n_classes"] = 9
    (broken / "config.json").write_text(json.dumps(config))
    done = nnconvert("lint", broken, "--json")
    assert done.returncode == 3
    codes = {finding["code"] for finding in json.loads(done.stdout)["findings"]}
    assert codes == {"camera.dai-type-missing", "compiled.shape", "head.output", "head.classes"}


# ------------------------------------------------------------- exit codes


def bad_sources(folder: Path) -> dict[str, tuple[Path, int, str]]:
    """A source for each way to be wrong: the exit code and a word of the message."""
    made: dict[str, tuple[Path, int, str]] = {}

    def config(**changes: Any) -> dict[str, Any]:
        described = config_for(conv_model(), preprocessing=RGB)
        described["model"]["inputs"][0] |= changes
        return described

    def add(case: str, code: int, word: str, /, **changes: Any) -> None:
        made[case] = (write_folder(folder / case, conv_model(), config(**changes)), code, word)

    add("name", 3, "'images'", name="image")
    add("shape", 3, "shape", shape=[1, 3, 9, 9])
    add("dtype", 3, "float32", dtype="int8")
    add("layout", 3, "inputs.images.layout", layout="NHWC")
    add("dai", 3, "RGB888i", preprocessing={"dai_type": "RGB888i"})
    add("mean", 3, "2 values", preprocessing={"mean": [1.0, 2.0]})
    add("zero", 3, "divides by zero", preprocessing={"scale": [0.0]})
    add("dynamic", 3, "not positive", shape=[-1, 3, 12, 16])
    add("key", 3, "no such key", colour="RGB")
    (folder / "not").write_bytes(b"nothing at all")
    made["not"] = (folder / "not", 3, "not an NN Archive")
    whole = DIGITS_ARCHIVE.read_bytes()
    (folder / "cut.tar.xz").write_bytes(whole[: len(whole) // 2])
    made["cut"] = (folder / "cut.tar.xz", 3, "cut short or damaged")
    made["absent"] = (folder / "absent.tar.xz", 2, "no such file")
    graph = helper.make_graph(
        [helper.make_node("Det", ["x"], ["y"], name="culprit")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    made["op"] = (write_folder(folder / "op", make_model(graph), image=False), 4, "Det")
    return made


NAMES = [
    "name",
    "shape",
    "dtype",
    "layout",
    "dai",
    "mean",
    "zero",
    "dynamic",
    "key",
    "not",
    "cut",
    "absent",
    "op",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_source_is_one_line_an_exit_code_and_nothing_left(
    tmp_path: Path, here: Path, temporary: Path, toolchain: Toolchain, name: str
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    made = bad_sources(sources)
    assert sorted(made) == sorted(NAMES)
    source, code, word = made[name]
    (here / "out.tar.xz").write_bytes(b"precious")
    done = nnconvert("convert", "-t", "rvc2", source, "-o", "out.tar.xz", "--force")
    assert done.returncode == code, done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert (here / "out.tar.xz").read_bytes() == b"precious"
    assert left_in(here) == ["out.tar.xz"]
    assert left_in(temporary) == []


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["--target", "rvc9"], "rvc2"),
        (["--target", "rvc2", "--toolchain", "magic"], "native"),
        (["--target", "rvc2", "rvc2.superblobb", "true"], "rvc2.superblob"),
        (["--target", "rvc2", "rvc2.superblob"], "value is missing"),
        (["--target", "rvc2", "rvc2.number_of_shaves=99"], "from 1 to 16"),
        (["--target", "rvc2", "inputs.imige.layout=NCHW"], "'image'"),
        (["--target", "rvc2", "--config", "nothing.yaml"], "cannot be read"),
        (["--target", "rvc2", "--preset", "nothing"], "superblob"),
        (["--target", "rvc2", "-o", "out.zip"], ".tar.xz"),
        (["--target", "rvc2", "-o", "no/folder/out.tar"], "no such folder"),
        (["--target", "rvc2", "--nonsense"], "nonsense"),
        ([], "target"),
    ],
)
def test_wrong_usage_is_exit_code_2(here: Path, words: Sequence[str], word: str) -> None:
    done = nnconvert("convert", DIGITS_ARCHIVE, *words)
    assert done.returncode == 2, done.stderr
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert word in error
    assert left_in(here) == []


def test_an_existing_output_is_refused_before_the_work(here: Path) -> None:
    Path("digits.rvc2.tar.xz").write_bytes(b"precious")
    done = nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE)
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert "[1/4]" not in done.stderr
    assert Path("digits.rvc2.tar.xz").read_bytes() == b"precious"


def test_debug_shows_the_traceback_and_the_tools_words_and_keeps_the_exit_code(
    here: Path, toolchain: Toolchain
) -> None:
    strict = ("convert", "-t", "rvc2", DIGITS_ARCHIVE, "verify.max_rel_rmse=0")
    quiet = nnconvert(*strict)
    assert "run again with --debug" in quiet.stderr
    done = nnconvert(*strict, "--debug")
    assert done.returncode == quiet.returncode == 7
    assert "Traceback" in done.stderr
    assert '"checked_on": "the blob' in done.stderr


def test_closed_streams_and_a_poor_locale_do_not_end_it(here: Path, toolchain: Toolchain) -> None:
    python = f"{sys.executable} -c 'from converter.cli import main; main()'"
    for index, redirection in enumerate((">&-", "2>&-", ">&- 2>&-")):
        words = f"convert -t rvc2 {DIGITS_ARCHIVE} -o {index}.tar {redirection}"
        assert subprocess.run(["bash", "-c", f"{python} {words}"], check=False).returncode == 0
        assert Path(f"{index}.tar").is_file()
    done = nnconvert(
        "plan", "-t", "rvc2", DIGITS_ARCHIVE, env=os.environ | {"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0


def test_a_reader_that_has_left_makes_no_traceback_of_an_error(here: Path) -> None:
    python = f"{sys.executable} -c 'from converter.cli import main; main()'"
    command = f"set -o pipefail; {python} lint nothing.tar --json 2>err | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() == "2"
    assert "Traceback" not in Path("err").read_text()


def test_a_missing_toolchain_without_a_network_is_exit_code_5(
    tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_CONFIG_FILE", os.devnull), ("PIP_FIND_LINKS", "")):
        monkeypatch.setenv(name, value)
    done = nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE)
    assert done.returncode == 5, done.stderr
    assert "--wheel FILE" in done.stderr
    assert left_in(here) == []


# ------------------------------------------------------------ start and end


@pytest.mark.parametrize(
    "words", [["convert", "--help"], ["--help"], ["--version"], ["plan", "--help"]]
)
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['nnconvert', *{words!r}]\n"
        "from converter.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert len(done.stdout.splitlines()) > 1


def test_help_shows_an_example() -> None:
    for command in ("convert", "plan", "inspect", "lint", "doctor"):
        assert "Example: " in nnconvert(command, "--help").stdout


@contextlib.contextmanager
def superblob_running(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion that takes a few seconds, and has begun to compile."""
    # A test run in the background has Ctrl-C switched off, and its children inherit that.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from converter.cli import main; main()"
    )
    words = ["convert", "-t", "rvc2", str(DIGITS_ARCHIVE), "-o", str(out), "rvc2.superblob", "true"]
    argv = [sys.executable, "-u", "-c", code, *words]
    child = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert child.stderr is not None
    with child:
        for line in child.stderr:
            if "Compiling" in line:
                break
        yield child


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def compilers_of(pid: int) -> list[int]:
    """The compiler's processes, once they are there."""
    for _ in range(400):
        found = [
            child
            for child in children_of(pid)
            if b"rvc2.myriad.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        ]
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("no compiler was started")


def wait_gone(pids: list[int]) -> None:
    for _ in range(200):
        alive = [pid for pid in pids if Path(f"/proc/{pid}").exists() and b"Z" not in state(pid)]
        if not alive:
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {alive}")


def state(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return b"Z"


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_nothing(
    here: Path, temporary: Path, toolchain: Toolchain, stop: signal.Signals
) -> None:
    with superblob_running(here / "out.tar.xz") as child:
        compilers = compilers_of(child.pid)
        child.send_signal(stop)
        assert child.stderr is not None
        said = child.stderr.read()
        assert child.wait(60) == 130
        assert "Cancelled" in said
        assert "Traceback" not in said
        wait_gone(compilers)
        assert left_in(here) == left_in(temporary) == []


def test_an_error_that_a_library_makes_of_ctrl_c_is_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_args: Any, **_kwargs: Any) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error

    handlers = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr("converter.cli._stops", [])
    monkeypatch.setattr("converter.cli.app.app", interrupted)
    monkeypatch.setattr(sys, "argv", ["nnconvert", "lint", "x"])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        for kind, handler in handlers.items():
            signal.signal(kind, handler)
    assert ended.value.code == 130
    assert "Cancelled" in capsys.readouterr().err


def test_a_killed_converter_takes_its_compiler_along(
    here: Path, temporary: Path, toolchain: Toolchain
) -> None:
    with superblob_running(here / "out.tar.xz") as child:
        compilers = compilers_of(child.pid)
        child.kill()
        child.wait(60)
        wait_gone(compilers)
        assert left_in(here) == []


def test_a_killed_compiler_is_a_clean_error(here: Path, temporary: Path, toolchain: Toolchain) -> None:
    with superblob_running(here / "out.tar.xz") as child:
        for pid in compilers_of(child.pid):
            os.kill(pid, signal.SIGKILL)
        assert child.stderr is not None
        said = child.stderr.read()
        assert child.wait(60) == 6
        assert "killed from outside" in said
        assert left_in(here) == left_in(temporary) == []


def test_a_bar_is_shown_on_a_terminal_only(here: Path, toolchain: Toolchain) -> None:
    if shutil.which("script") is None:
        pytest.skip("util-linux's script is not here")
    command = (
        f"{sys.executable} -c 'from converter.cli import main; main()' convert -t rvc2 {DIGITS_ARCHIVE}"
    )
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "━" in done.stdout
    assert "[1/4]" not in done.stdout


# ------------------------------------------------------------------ disks


def test_a_full_disk_under_the_output_leaves_the_old_file(
    small_disk: Path, tmp_path: Path, temporary: Path, toolchain: Toolchain
) -> None:
    out = small_disk / "out.tar"
    out.write_bytes(b"precious")
    done = nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE, "-o", out, "--force")
    assert done.returncode == 6, done.stderr
    assert "disk is full" in done.stderr
    assert out.read_bytes() == b"precious"
    assert left_in(small_disk) == ["out.tar"]
    assert left_in(temporary) == []


def test_a_full_disk_under_the_work_folder_is_told(
    small_disk: Path, here: Path, monkeypatch: pytest.MonkeyPatch, toolchain: Toolchain
) -> None:
    monkeypatch.setenv("TMPDIR", str(small_disk))
    done = nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE)
    assert done.returncode == 6, done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(small_disk) == left_in(here) == []


def test_a_read_only_output_folder_is_told_before_the_work(
    small_disk: Path, toolchain: Toolchain
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = nnconvert("convert", "-t", "rvc2", DIGITS_ARCHIVE, "-o", small_disk / "out.tar")
    assert done.returncode == 2, done.stderr
    assert "cannot be written to" in done.stderr
    assert "[1/4]" not in done.stderr


def test_a_failure_is_one_json_document_too(here: Path, temporary: Path) -> None:
    done = nnconvert("convert", "-t", "rvc4", DIGITS_ARCHIVE, "--json")
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert document["error"]["exit_code"] == 2
    assert "needs calibration data" in document["error"]["message"]
    words = ("rvc4.quantization_mode", "FP16_STANDARD", "verify.max_rel_rmse", "0", "--json")
    done = nnconvert("convert", "-t", "rvc4", DIGITS_ARCHIVE, *words)
    assert done.returncode == 7, done.stderr
    document = json.loads(done.stdout)
    assert document["error"]["exit_code"] == 7
    assert document["verification"]["status"] == "failed"
    assert document["verification"]["outputs"]["scores"]["rel_rmse"] > 0
    assert (left_in(here), left_in(temporary)) == ([], [])


def test_an_rvc4_conversion_says_where_it_was_checked(here: Path, temporary: Path) -> None:
    data = DIGITS_ARCHIVE.parent / "calibration"
    done = nnconvert("convert", "-t", "rvc4", DIGITS_ARCHIVE, f"calibration.path={data}")
    assert (done.returncode, done.stdout) == (0, "digits.rvc4.tar.xz\n"), done.stderr
    assert "HTP emulator of QAIRT" in done.stderr
    assert "not on a camera" in done.stderr
    assert (left_in(here), left_in(temporary)) == (["digits.rvc4.tar.xz"], [])
    shown = nnconvert("doctor").stdout
    assert "rvc4 native: QAIRT" in shown
    assert "LICENSE" in shown
    assert "SNPE" in shown


@pytest.mark.parametrize("words", [("lint", "--json"), ("inspect", "--json"), ("inspect",)])
def test_an_output_that_nothing_more_fits_into_is_one_line(words: tuple[str, ...]) -> None:
    command, *flags = words
    argv = [
        sys.executable,
        "-c",
        "from converter.cli import main; main()",
        command,
        DIGITS_ARCHIVE,
        *flags,
    ]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 6
    assert done.stderr.startswith("error: The output cannot be written")
    assert "Traceback" not in done.stderr
