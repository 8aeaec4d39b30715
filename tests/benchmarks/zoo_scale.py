"""A zoo of 1,000, 10,000 and 100,000 cells that nobody converted: gate, site, index, history.

`python -m tests.benchmarks.zoo_scale` writes `results/zoo-scale.md`. Each size runs in a process of its own,
whose peak memory is the kernel's (`ru_maxrss`). A second build is held against a first one; a hundredth of
its cells fail, a hundredth became larger. Archives are not made, so statements and SBOMs are not part of it.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converter.digests import sha256_of
from converter.zoo import content, documents, history
from converter.zoo.gate import Verdict, judge
from converter.zoo.index import Index, read
from converter.zoo.site.write import write_site
from converter.zoo.summaries import junit, markdown
from tests.zoo_builds import cell, failed, index

SIZES = (1_000, 10_000, 100_000)
COLUMNS = (("rvc2", "default"), ("rvc4", "INT8_STANDARD"), ("rvc4", "FP16_STANDARD"))
RESULTS = Path(__file__).parent / "results" / "zoo-scale"
TODAY = date(2026, 11, 29)


def build(count: int, day: int) -> Index:
    """A build of `count` cells, three a model; with `day` a hundredth fails, and a hundredth grew."""
    cells = []
    for number in range(count):
        model = f"model-{number // len(COLUMNS):06}"
        target, mode = COLUMNS[number % len(COLUMNS)]
        one = cell(model, target, mode, archive=f"archives/{number}.tar.xz", cached=number % 10 != 0)
        if day and number % 100 == 0:
            one = failed(model, target, mode)
        elif day and number % 100 == 1:
            one = replace(one, size_bytes=1_200_000)
        cells.append(one)
    return index(*cells, id=f"2026112{day}T010203Z-0a1b2c3d")


def measured(count: int) -> dict[str, Any]:
    """CPU seconds of each part and the peak memory of this process."""
    seconds: dict[str, float] = {}
    sizes: dict[str, int] = {}

    def timed(what: str, run: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = run()
        seconds[what] = round(time.process_time() - start, 2)
        return made

    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        first = build(count, 0)
        (folder / "first").mkdir()
        write_site(folder / "first", first, Verdict(), history.History(), base="")
        content.replace(folder / "index.json", documents.index_document(first, "0", None))
        del first
        second = build(count, 1)
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = timed("read the published index", lambda: read(folder / "index.json"))
        verdict = timed("gate", lambda: judge(second, before, today=TODAY))
        (folder / "second").mkdir()
        past = timed("read the history", lambda: history.read(folder / "first" / history.FILE))
        timed(
            "write all pages", lambda: write_site(folder / "second", second, verdict, past, base="x/")
        )
        timed("junit.xml, summary.md", lambda: (junit(second, verdict), markdown(second, verdict)))
        timed(
            "hash all pages",
            lambda: [sha256_of(path) for path in (folder / "second").rglob("*") if path.is_file()],
        )
        place = folder / "second" / "index.json"
        timed("index.json", lambda: content.replace(place, documents.index_document(second, "0", None)))
        sizes["index.json"] = place.stat().st_size
        for one in ("index.html", "data.js", "history.jsonl"):
            sizes[one] = (folder / "second" / one).stat().st_size
        pages = [path.stat().st_size for path in (folder / "second" / "models").iterdir()]
        sizes["largest page of a model"] = max(pages)
        sizes["all pages"] = sum(pages)
    return {
        "cells": count,
        "models": len(pages),
        "findings": len(verdict.findings),
        "seconds": seconds,
        "bytes": sizes,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "before_mb": round(own / 1024),
    }


def table(rows: list[dict[str, Any]]) -> str:
    def line(what: str, values: Iterable[Any]) -> str:
        return f"| {what} | {' | '.join(map(str, values))} |"

    told = {
        "pages of models": "models",
        "findings": "findings",
        "peak memory, MB": "peak_mb",
        "of which the simulated build, MB": "before_mb",
    }
    return "\n".join(
        [
            line("", (f"{row['cells']:,} cells" for row in rows)),
            f"|{' --- |' * (len(rows) + 1)}",
            *(
                line(f"{what}, CPU s", (row["seconds"][what] for row in rows))
                for what in rows[0]["seconds"]
            ),
            *(
                line(f"{what}, kB", (f"{row['bytes'][what] / 1000:,.0f}" for row in rows))
                for what in rows[0]["bytes"]
            ),
            *(line(what, (f"{row[key]:,}" for row in rows)) for what, key in told.items()),
        ]
    )


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measured(int(sys.argv[1]))))
        return
    rows = []
    for count in SIZES:
        command = [sys.executable, "-m", "tests.benchmarks.zoo_scale", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout))
    about = (
        f"{datetime.now(UTC):%Y-%m-%d}, nnarchive-converter {version('nnarchive-converter')}, Python "
        f"{platform.python_version()}, {platform.machine()}, two cores that others used meanwhile"
    )
    RESULTS.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    head = "# A zoo of many cells, simulated\n\n" + str(__doc__).split("\n\n", 1)[1].strip()
    RESULTS.with_suffix(".md").write_text(f"{head}\n\n{about}.\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
