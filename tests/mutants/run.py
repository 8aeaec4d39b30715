"""Put each bug of the table into a copy of the repository, and see that its tests fail.

    python -m tests.mutants.run [--only NAME-OR-NUMBER …] [--jobs 2] [--write]

The named tests must pass without any edit, and at least one case of each must fail with the edit by an
assertion: an edit that cannot be imported proves nothing. The exit code is 1 where a mutant survives.

Each run of tests is a fork of this process, which has the large libraries loaded and nothing of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from tests.mutants import PLACE
from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.md")
PRELOADED = (
    "docker",
    "luxonis_ml.nn_archive",
    "numpy",
    "onnx",
    "onnx_ir.passes.common",
    "onnxruntime.quantization",
    "onnxslim",
    "PIL.Image",
)
VERSIONS = ("pytest", "hypothesis", "numpy", "onnx", "onnxruntime")
OURS = ("converter", "targets", "tests")
TIMEOUT_S = 600

Verdicts = dict[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of a mutant: `outcome` is killed, or why it counts as a survivor."""

    mutant: Mutant
    outcome: str
    seconds: float

    @property
    def is_killed(self) -> bool:
        """Whether the named tests found it."""
        return self.outcome == "killed"


def copy_to(folder: Path) -> Path:
    """A copy of the work tree's files, with byte code that is checked by content and not by time.

    Two edits of one second and one size would else be taken for each other.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
    subprocess.run([*compiling, *OURS], cwd=folder, check=True)
    return folder


def _become(copy: Path, tests: Sequence[str], scratch: Path) -> None:
    """In the fork: run tests with the packages of the copy, and leave the verdicts in `scratch`."""
    os.setsid()
    log = os.open(scratch / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path and Path(path).resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.dont_write_bytecode = True
    os.environ.pop("CI", None)  # a test that is skipped is told by the verdicts
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    os.environ[PLACE] = str(scratch / "verdicts.json")
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.mutants.verdicts"]
    # Plugins that a preloaded library has imported are not rewritten, which they need not be.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    pytest.main([*options, "--basetemp", str(scratch / "tmp"), *tests])
    sys.stdout.flush()


class Trial:
    """Tests that run in a fork, on a copy of the repository that nobody else uses meanwhile."""

    def __init__(self, copy: Path, tests: Sequence[str], scratch: Path) -> None:
        scratch.mkdir()
        self.started = time.monotonic()
        self._copy, self._scratch = copy, scratch
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_become, args=(copy, tests, scratch))
        self._process.start()

    @property
    def sentinel(self) -> int:
        """Ready when the tests have ended."""
        return self._process.sentinel

    @property
    def is_late(self) -> bool:
        """Whether it has had its time."""
        return time.monotonic() - self.started > TIMEOUT_S

    def end(self) -> Verdicts:
        """How the tests ended; those that still run are stopped."""
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(self._process.pid or 0), signal.SIGKILL)
        self._process.join()
        written = self._scratch / "verdicts.json"
        if not written.is_file():
            log = (self._scratch / "log").read_text(errors="replace")
            return {"broken": [f"no verdict: {' '.join(log[-600:].split())}"]}
        found: Verdicts = json.loads(written.read_text())
        shutil.rmtree(self._scratch)
        elsewhere = [path for path in found["packages"] if not Path(path).is_relative_to(self._copy)]
        assert not elsewhere, f"the tests ran {elsewhere}, not the copy"
        return found


def cases_of(test: str, nodes: Sequence[str]) -> list[str]:
    """The cases among the nodes that a named test stands for: itself, or all of its parameters."""
    return [node for node in nodes if node == test or node.startswith(f"{test}[")]


def wrong_without_an_edit(named: Collection[str], found: Verdicts) -> list[str]:
    """What is wrong with the named tests before anything is edited."""
    problems = [
        f"{kind} without an edit: {node}"
        for kind in ("asserted", "broken", "skipped")
        for node in found.get(kind, [])
    ]
    passed = found.get("passed", [])
    return problems + [f"there is no such test: {test}" for test in named if not cases_of(test, passed)]


def outcome_of(mutant: Mutant, found: Verdicts) -> str:
    """`killed` if each named test failed by an assertion, else what happened."""
    missed = [test for test in mutant.tests if not cases_of(test, found.get("asserted", []))]
    if not missed:
        return "killed"
    broken = found.get("broken", [])
    return f"broken: {broken[0]}" if broken else f"SURVIVED {', '.join(missed)}"


def chosen(only: Sequence[str]) -> list[tuple[int, Mutant]]:
    """The mutants of the command line, by name or by number, each with its number."""
    numbered = list(enumerate(MUTANTS, 1))
    known = {word for number, mutant in numbered for word in (str(number), mutant.name)}
    if unknown := set(only) - known:
        raise SystemExit(f"There is no mutant {', '.join(sorted(unknown))}.")
    return [(n, m) for n, m in numbered if not only or str(n) in only or m.name in only]


def judge_all(picked: Sequence[tuple[int, Mutant]], folder: Path, jobs: int) -> dict[int, Result]:
    """Every mutant's result by its number; as many at a time as there are copies."""
    results: dict[int, Result] = {}
    free = [copy_to(folder / f"copy{index}") for index in range(max(1, min(jobs, len(picked))))]
    waiting = deque(picked)
    running: dict[int, tuple[int, Mutant, Trial, Path, str]] = {}

    def done(number: int, result: Result) -> None:
        results[number] = result
        print(
            f"{number:3} {result.mutant.name:42} {result.seconds:6.1f} s  {result.outcome}", flush=True
        )

    while waiting or running:
        while waiting and free:
            number, mutant = waiting.popleft()
            text = (free[-1] / mutant.file).read_text()
            if (count := text.count(mutant.before)) != 1:
                outcome = f"its text is there {count} times"
                done(number, Result(mutant=mutant, outcome=outcome, seconds=0.0))
                continue
            copy = free.pop()
            (copy / mutant.file).write_text(text.replace(mutant.before, mutant.after))
            trial = Trial(copy, mutant.tests, folder / str(number))
            running[trial.sentinel] = (number, mutant, trial, copy, text)
        ended = set(wait(list(running), timeout=5)) if running else set()
        for sentinel, (number, mutant, trial, copy, text) in list(running.items()):
            if sentinel in ended or trial.is_late:
                outcome = outcome_of(mutant, trial.end())
                (copy / mutant.file).write_text(text)
                del running[sentinel]
                free.append(copy)
                seconds = time.monotonic() - trial.started
                done(number, Result(mutant=mutant, outcome=outcome, seconds=seconds))
    return results


def page(results: dict[int, Result], total_s: float) -> str:
    """The results as a page of Markdown, with what they were made with."""
    killed = sum(result.is_killed for result in results.values())
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    lines = [
        "# Mutants: bugs that the tests must find",
        "",
        f"{killed} of {len(results)} killed in {total_s:.0f} s, {datetime.date.today().isoformat()}, "
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {versions}.",
        "",
        "Generated by `nox -s mutants`; do not edit. The edits are in `tests/mutants/table.py`.",
        "",
        "| # | mutant | file | what a user would get | found by | result | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, result in sorted(results.items()):
        mutant = result.mutant
        tests = "<br>".join(f"`{test.rpartition('/')[2]}`" for test in mutant.tests)
        cells: list[Any] = [number, mutant.name, f"`{mutant.file}`", mutant.harm, tests, result.outcome]
        lines.append(f"| {' | '.join(map(str, cells))} | {result.seconds:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the mutants and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], help="names or numbers of mutants")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    words = parser.parse_args()
    if words.write and words.only:
        parser.error("--write is for all of them")
    picked = chosen(words.only)
    started = time.monotonic()
    for module in PRELOADED:
        importlib.import_module(module)
    named = sorted({test for _, mutant in picked for test in mutant.tests})
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trial = Trial(copy_to(Path(folder) / "as it is"), named, Path(folder) / "baseline")
        wait([trial.sentinel], timeout=TIMEOUT_S)
        if problems := wrong_without_an_edit(named, trial.end()):
            print("\n".join(problems))
            return 1
        print(f"The named tests pass without an edit ({time.monotonic() - started:.0f} s).", flush=True)
        results = judge_all(picked, Path(folder), words.jobs)
    total_s = time.monotonic() - started
    survivors = [result for result in results.values() if not result.is_killed]
    print(f"{len(results) - len(survivors)} of {len(results)} killed in {total_s:.0f} s.")
    if words.write:
        RESULTS.write_text(page(results, total_s))
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
