"""What each RVC4 mode keeps of a network's accuracy: on the HTP emulator, on no camera.

    nox -s accuracy_rvc4      # or: python -m tests.benchmarks.accuracy WHEELS --cache FOLDER

Trained networks (`tests.benchmarks.integer_nets`, a minute each; the folder keeps them) and such that
packages ship, in every mode, with and without bias correction, ranges by group and `rvc4.max_drop`. A row
is written as soon as it is measured, and one that was measured is not measured again unless --again asks
for it. Writes `results/accuracy-rvc4.*`, the README's table and that of docs/accuracy.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.accuracy.cases import CASES
from tests.benchmarks.accuracy.measure import VARIANTS, Row, exact_outputs, measured
from tests.benchmarks.accuracy.table import full_table, short_table, write
from tests.benchmarks.speed import RESULTS


def stored(path: Path) -> dict[tuple[str, str], Row]:
    """The rows of a file, by network and variant; none without the file."""
    rows = [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    return {(row.net, row.variant): row for row in rows}


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write rows for a later run, in one step."""
    text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def measure(given: argparse.Namespace, path: Path) -> None:
    """Measure what is missing: every network in one variant before the next."""
    exact = {}
    cases = {}
    for variant in given.variants:
        for name in given.nets:
            if (name, variant) in stored(path) and not given.again:
                continue
            if name not in cases:
                cases[name] = CASES[name](given.cache, given.wheels)
                with tempfile.TemporaryDirectory() as work:
                    exact[name] = exact_outputs(cases[name], Path(work))
            row = measured(cases[name], variant, exact[name])
            print(row, flush=True)
            save(path, (stored(path) | {(name, variant): row}).values())


def ordered(rows: Iterable[Row]) -> list[Row]:
    """By network, then by variant."""
    nets, variants = list(CASES), list(VARIANTS)
    return sorted(rows, key=lambda row: (nets.index(row.net), variants.index(row.variant)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", type=Path, help="a folder with the packages' wheels")
    parser.add_argument("--cache", type=Path, required=True, help="keeps trained nets and frames")
    parser.add_argument("--nets", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--again", action="store_true", help="measure also what was measured")
    parser.add_argument("--rows", type=Path, help="another file of rows; writes no page")
    given = parser.parse_args()
    path = given.rows or RESULTS / "accuracy-rvc4.json"
    measure(given, path)
    if given.rows:
        return
    rows = ordered(stored(path).values())
    save(path, rows)
    text = full_table(rows)
    (RESULTS / "accuracy-rvc4.md").write_text(f"# Accuracy of the RVC4 modes\n\n{text}\n")
    write(rows, {"README.md": short_table(rows), "docs/accuracy.md": text})
    print(text)


if __name__ == "__main__":
    main()
