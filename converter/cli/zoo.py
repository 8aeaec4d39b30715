"""`zoo`: a matrix of conversions from one manifest, planned and built."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import App, Parameter

from converter.errors import ArchiveError

if TYPE_CHECKING:
    from datetime import date

    from converter.zoo.plan import PlannedCell

_MOST_FINDINGS: Final = 30

zoo_app = App(name="zoo", help="Build a zoo of models for many targets and modes, every night.")

Manifest = Annotated[Path, Parameter(help="The manifest, a YAML file; see docs/zoo.md.")]
Out = Annotated[Path, Parameter(name=["--out", "-o"], help="The build's folder.")]
Only = Annotated[
    list[str] | None,
    Parameter(
        negative="",
        help="MODEL, MODEL/TARGET or MODEL/TARGET/MODE, each a glob such as */rvc4/INT8_*, or a "
        "selector of the manifest. May be repeated.",
    ),
]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document.")]


@zoo_app.command(help_epilogue="Example: nnconvert zoo plan zoo.yaml --only '*/rvc4'")
def plan(
    manifest: Manifest,
    *,
    out: Annotated[
        Path | None,
        Parameter(name=["--out", "-o"], help="An earlier build's folder, for how long cells take."),
    ] = None,
    only: Only = None,
    json: AsJson = False,
) -> int:
    """Print the matrix: what the cache has, what would run, and what it would cost.

    A cell that cannot be tried is an error, unless it is expected.
    """
    from datetime import UTC, datetime

    from converter.cli import print_json
    from converter.zoo import index
    from converter.zoo.plan import make_plan

    before = index.read(out) if out is not None and (out / index.FILE).is_file() else None
    made = make_plan(manifest, only=only or (), before=before)
    today = datetime.now(UTC).date()
    run = [cell for cell in made.cells if cell.will_run]
    known = [cell.cost_s for cell in run if cell.cost_s is not None]
    if json:
        print_json(
            {
                "cells": [cell.to_json() for cell in made.cells],
                "left_out": dict(made.left_out),
                "will_run": len(run),
                "estimated_s": round(sum(known), 1) if len(known) == len(run) else None,
            }
        )
        return made.exit_code(today)
    width = max((len(cell.id) for cell in made.cells), default=0)
    for cell in made.cells:
        said = "cached" if cell.found else f"error: {cell.error}" if cell.error else "will run"
        cost = f", about {cell.cost_s:.0f} s" if cell.will_run and cell.cost_s is not None else ""
        print(f"{cell.id:{width}}  {cell.toolchain:9}  {said}{cost}{_expected(cell, today)}")
    for target, why in made.left_out.items():
        print(f"{target} is left out: {why}")
    print(_summed(len(made.cells), len(run), known))
    return made.exit_code(today)


def _expected(cell: PlannedCell, today: date) -> str:
    """What the manifest expects of a cell, and whether that is over."""
    from converter.zoo.expected import latest

    one = latest(cell.wanted.expected)
    if one is None:
        return ""
    if today > one.until:
        return f"; it was expected to fail until {one.until}, which is over ({one.reason})"
    return f"; it is expected to fail until {one.until}"


def _summed(total: int, run: int, known: Sequence[float]) -> str:
    said = f"{total} cells: {run} will run"
    if not run or not known:
        return f"{said}."
    missing = "" if len(known) == run else f" ({run - len(known)} of them never built before)"
    return f"{said}{missing}, about {sum(known):.0f} s of conversion."


@zoo_app.command(help_epilogue="Example: nnconvert zoo build zoo.yaml --out site/")
def build(
    manifest: Manifest,
    *,
    out: Out,
    only: Only = None,
    scheduler: Annotated[
        str | None,
        Parameter(
            help="A Dask scheduler, tcp://host:8786, whose workers convert; this machine if not."
        ),
    ] = None,
    database: Annotated[
        str | None,
        Parameter(help="Keep the jobs in this database: a file, or postgresql://… Default: none."),
    ] = None,
    against: Annotated[
        str | None,
        Parameter(
            help="The published build to compare with: a folder, an index.json, or a URL of either. "
            "Default: what is published in --out."
        ),
    ] = None,
    accept: Annotated[
        bool,
        Parameter(negative="", help="Publish what became worse; cells that fail are never accepted."),
    ] = False,
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", help="Print failures and the result.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Convert the matrix and publish it. Exit code 8 if a cell fails or became worse."""
    from converter.cli import print_json
    from converter.cli.zoo_progress import ZooReporter
    from converter.zoo.build import build as run
    from converter.zoo.release import prepared

    with ZooReporter(quiet=quiet or json) as reporter:
        made = run(
            manifest,
            out,
            reporter,
            only=only or (),
            scheduler=scheduler,
            database=database,
            finish=prepared(out, against=against, accept=accept),
        )
    if json:
        print_json(made.to_json())
    else:
        for line in _told(made):
            print(line, file=sys.stderr)
        print(out / "index.json", flush=True)
    return int(made.gate["exit_code"])


def _told(made: object) -> Iterator[str]:
    from collections import Counter

    from converter.zoo.index import Index

    assert isinstance(made, Index)
    counts = Counter(cell.status.value for cell in made.cells)
    said = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items())
    cached = sum(cell.cached for cell in made.cells)
    yield f"{len(made.cells)} cells: {said}; {cached} from the cache, {made.build.seconds:.1f} s."
    yield from _findings(made.gate)


def _findings(gate: Mapping[str, Any]) -> Iterator[str]:
    """What the gate found, what it says no for first."""
    from converter.zoo.gate import Verdict

    verdict = Verdict.from_json(gate)
    told = [one for one in verdict.findings if one not in verdict.errors]
    for one in [*verdict.errors, *told][:_MOST_FINDINGS]:
        yield f"{one.severity.value}: {' '.join(str(one).split())}"
    if len(verdict.findings) > _MOST_FINDINGS:
        yield f"… and {len(verdict.findings) - _MOST_FINDINGS:,} more: see gate.json."
    yield verdict.said


@zoo_app.command(help_epilogue="Example: nnconvert zoo verify site/")
def verify(
    folder: Annotated[Path, Parameter(help="A folder that nnconvert zoo build wrote.")],
    *,
    json: AsJson = False,
) -> int:
    """Check a published folder: hashes, statements, SBOMs, nothing extra. Exit code 3 if damaged."""
    from converter.cli import print_json
    from converter.zoo.check import check

    found = check(folder)
    if json:
        print_json(found.to_json())
    else:
        for one in found.faults:
            print(f"{one.severity.value}: {' '.join(str(one).split())}", file=sys.stderr)
        count = len(found.errors)
        faults = "1 fault" if count == 1 else f"{count} faults"
        read = f"{found.builds} builds, {found.cells} green cells, {found.files} files"
        print(f"{folder}: {read}: {faults}.")
    return ArchiveError.exit_code if found.errors else 0
