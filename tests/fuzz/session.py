"""Run every fuzz target for some time, and write what came of it down.

`python -m tests.fuzz.session [--seconds N]`, with atheris installed; `nox -s fuzz` does it. Two targets
run at a time. An input that gets through a reader is kept in `tests/fuzz/crashes/TARGET`, where
`tests/unit/test_fuzz_regressions.py` runs it from then on, and the target goes on without it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
CRASHES = HERE / "crashes"
RESULTS = HERE.parent / "benchmarks" / "results"
TARGETS = ("archive", "blob", "superblob", "dlc")
SECONDS = 450  # four targets: half an hour in all
MAX_BYTES = 1 << 16
LIBRARIES = ("atheris", "nnarchive-converter", "luxonis-ml", "onnx", "numpy")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one target did: `features` is libFuzzer's count of branches, each with how often it ran."""

    target: str
    seconds: float
    executions: int
    features: int
    kept_inputs: int
    peak_mb: int
    crashes: tuple[str, ...]


def run(target: str, corpus: Path, seconds: int, work: Path) -> Outcome:
    """Fuzz one target; after a crash it is started again for the seconds that are left."""
    grown = work / "corpus"
    scratch = work / "tmp"
    found = CRASHES / target
    for folder in (grown, scratch, found):
        folder.mkdir(parents=True, exist_ok=True)
    before = set(found.iterdir())
    started = time.monotonic()
    executions = features = peak = 0
    while (left := round(seconds - (time.monotonic() - started))) > 0:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.fuzz_readers", target, str(grown), str(corpus)),
                *(f"-max_total_time={left}", f"-max_len={MAX_BYTES}", "-timeout=10"),
                *("-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={found}/"),
            ],
            env={**os.environ, "TMPDIR": str(scratch)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        (work / "log").write_text(done.stderr)
        ran = _last(r"number_of_executed_units: (\d+)", done.stderr)
        if ran == 0:
            raise SystemExit(f"{target} did not run:\n{done.stderr[-2000:]}")
        executions += ran
        features = max(features, _last(r" ft: (\d+)", done.stderr))
        peak = max(peak, _last(r"peak_rss_mb: +(\d+)", done.stderr))
    new = sorted(path.name for path in set(found.iterdir()) - before)
    if not any(found.iterdir()):
        found.rmdir()
    return Outcome(
        target=target,
        seconds=round(time.monotonic() - started, 1),
        executions=executions,
        features=features,
        kept_inputs=len(list(grown.iterdir())),
        peak_mb=peak,
        crashes=tuple(new),
    )


def _last(pattern: str, text: str) -> int:
    found = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def write(outcomes: list[Outcome], began: datetime, elapsed_s: float) -> None:
    """The table, and the same as JSON."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}
    total = sum(outcome.seconds for outcome in outcomes)
    load = os.getloadavg()[1]
    rows = [
        f"| {o.target} | {o.seconds:.0f} | {o.executions:,} | {o.executions / o.seconds:,.0f} "
        f"| {o.features:,} | {o.kept_inputs:,} | {o.peak_mb} | {len(o.crashes)} |"
        for o in outcomes
    ]
    text = f"""# Fuzzing the readers

Made by `tests/fuzz/session.py` (`nox -s fuzz`) on {began:%Y-%m-%d %H:%M} UTC, on {os.cpu_count()} cores (load average at the end:
{load:.1f}), two targets at a time: {total / 60:.1f} minutes of fuzzing in {elapsed_s / 60:.1f} minutes. A crash is an input that ends a reader
with anything but a `ConvertError`, takes over ten seconds or 2 GB, or makes it write outside of the work folder.
Inputs are at most {MAX_BYTES:,} bytes.

{", ".join(f"{name} {number}" for name, number in versions.items())}

| target | seconds | executions | a second | features | inputs kept | peak MB | crashes |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Features are libFuzzer's: branches of `converter`, `targets` and `tarfile`, each with how often it ran.
"""
    for outcome in outcomes:
        for name in outcome.crashes:
            text += f"\n- {outcome.target}: `tests/fuzz/crashes/{outcome.target}/{name}`"
    RESULTS.joinpath("fuzz.md").write_text(text.rstrip() + "\n")
    document = {
        "began": began.isoformat(timespec="seconds"),
        "elapsed_s": round(elapsed_s, 1),
        "versions": versions,
        "targets": [asdict(outcome) for outcome in outcomes],
    }
    RESULTS.joinpath("fuzz.json").write_text(json.dumps(document, indent=2) + "\n")


def main() -> int:
    """Exit code 1 if something got through."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="for each target")
    parser.add_argument("--corpus", type=Path, help="made before; default: made anew")
    given = parser.parse_args()
    began, started = datetime.now(UTC), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nnconvert-fuzz-") as folder:
        work = Path(folder)
        corpus = given.corpus
        if corpus is None:
            from tests.fuzz.make_corpus import make

            corpus = work / "start"
            make(corpus)
            began, started = datetime.now(UTC), time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            jobs = [
                pool.submit(run, name, corpus / name, given.seconds, work / name) for name in TARGETS
            ]
            outcomes = [job.result() for job in jobs]
    write(outcomes, began, time.monotonic() - started)
    for outcome in outcomes:
        print(outcome)
    return 1 if any(outcome.crashes for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
