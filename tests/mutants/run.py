"""Put each bug of the table into a copy of the repository, and see that its tests fail.

    python -m tests.mutants.run [--only NAME-OR-NUMBER …] [--jobs 2] [--write]

The named tests must pass without any edit, and at least one case of each must fail with the edit by an
assertion: an edit that cannot be imported proves nothing. The exit code is 1 where a mutant survives.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.mutants.table import MUTANTS, Mutant
from tests.mutants.verdicts import PLACE

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results.md")
VERSIONS = ("pytest", "hypothesis", "numpy", "onnx", "onnxruntime")
TIMEOUT_S = 600


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
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash"]
        + ["converter", "targets", "tests"],
        cwd=folder,
        check=True,
    )
    return folder


def run_tests(copy: Path, tests: Iterable[str]) -> dict[str, list[str]]:
    """How the named tests end in a copy of the repository; its own packages come first."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "verdicts.json"
        environment = os.environ | {
            "PYTHONPATH": str(copy),
            "PYTHONDONTWRITEBYTECODE": "1",
            PLACE: str(place),
        }
        environment.pop("CI", None)  # a test that is skipped here is told by the verdicts
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
                + ["-p", "tests.mutants.verdicts", "--basetemp", f"{scratch}/tmp", *tests],
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return {"broken": [f"the tests did not end within {TIMEOUT_S} s"]}
        if not place.is_file():
            return {"broken": [(done.stdout + done.stderr)[-2000:]]}
        found: dict[str, list[str]] = json.loads(place.read_text())
    elsewhere = [path for path in found["packages"] if not Path(path).is_relative_to(copy)]
    assert not elsewhere, f"the tests ran {elsewhere}, not the copy"
    return found


def cases_of(test: str, nodes: Sequence[str]) -> list[str]:
    """The cases among the nodes that a named test stands for: itself, or all of its parameters."""
    return [node for node in nodes if node == test or node.startswith(f"{test}[")]


def baseline(copy: Path, mutants: Sequence[Mutant]) -> list[str]:
    """What is wrong with the named tests before anything is edited."""
    named = sorted({test for mutant in mutants for test in mutant.tests})
    found = run_tests(copy, named)
    problems = [
        f"{kind} without an edit: {node}"
        for kind in ("asserted", "broken", "skipped")
        for node in found.get(kind, [])
    ]
    passed = found.get("passed", [])
    problems += [f"there is no such test: {test}" for test in named if not cases_of(test, passed)]
    return problems


def judge(copy: Path, mutant: Mutant) -> Result:
    """Edit the copy, run the mutant's tests, and take the edit back."""
    started = time.monotonic()
    file = copy / mutant.file
    before = file.read_text()
    if before.count(mutant.before) != 1:
        outcome = f"its text is there {before.count(mutant.before)} times"
        return Result(mutant=mutant, outcome=outcome, seconds=0.0)
    try:
        file.write_text(before.replace(mutant.before, mutant.after))
        found = run_tests(copy, mutant.tests)
    finally:
        file.write_text(before)
    missed = [test for test in mutant.tests if not cases_of(test, found.get("asserted", []))]
    outcome = "killed"
    if missed:
        broken = found.get("broken", [])
        outcome = f"broken: {broken[0]}" if broken else f"SURVIVED {', '.join(missed)}"
    return Result(mutant=mutant, outcome=outcome, seconds=time.monotonic() - started)


def chosen(only: Sequence[str]) -> list[tuple[int, Mutant]]:
    """The mutants of the command line, by name or by number, each with its number."""
    numbered = list(enumerate(MUTANTS, 1))
    known = {word for number, mutant in numbered for word in (str(number), mutant.name)}
    if unknown := set(only) - known:
        raise SystemExit(f"There is no mutant {', '.join(sorted(unknown))}.")
    return [(n, m) for n, m in numbered if not only or str(n) in only or m.name in only]


def table_of(results: Sequence[tuple[int, Result]], total_s: float) -> str:
    """The results as a page of Markdown, with what they were made with."""
    killed = sum(result.is_killed for _, result in results)
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    lines = [
        "# Mutants: bugs that the tests must find",
        "",
        f"{killed} of {len(results)} killed in {total_s:.0f} s, {datetime.date.today().isoformat()}, "
        f"Python {platform.python_version()}, {versions}.",
        "",
        "Generated by `nox -s mutants`; do not edit. The edits are in `tests/mutants/table.py`.",
        "",
        "| # | mutant | file | what a user would get | found by | result | s |",
        "|---|---|---|---|---|---|---|",
    ]
    for number, result in results:
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
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for index in range(max(1, min(words.jobs, len(picked)))):
            copies.put(copy_to(Path(folder) / str(index)))
        copy = copies.get()
        if problems := baseline(copy, [mutant for _, mutant in picked]):
            print("\n".join(problems))
            return 1
        copies.put(copy)
        print(f"The named tests pass without an edit ({time.monotonic() - started:.0f} s).", flush=True)

        def one(numbered: tuple[int, Mutant]) -> tuple[int, Result]:
            number, mutant = numbered
            mine = copies.get()
            try:
                result = judge(mine, mutant)
            finally:
                copies.put(mine)
            print(f"{number:3} {mutant.name:44} {result.seconds:6.1f} s  {result.outcome}", flush=True)
            return number, result

        with ThreadPoolExecutor(max(1, words.jobs)) as pool:
            results = list(pool.map(one, picked))
    total_s = time.monotonic() - started
    survivors = [result for _, result in results if not result.is_killed]
    print(f"{len(results) - len(survivors)} of {len(results)} killed in {total_s:.0f} s.")
    if words.write:
        RESULTS.write_text(table_of(results, total_s))
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
