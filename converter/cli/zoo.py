"""`zoo`: a matrix of conversions from one manifest, planned and built."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

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
    """Print the matrix: what the cache has, what would run, and what it would cost."""
    from converter.cli import print_json
    from converter.zoo import index
    from converter.zoo.plan import make_plan

    before = index.read(out) if out is not None and (out / index.FILE).is_file() else None
    made = make_plan(manifest, only=only or (), before=before)
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
        return 0
    width = max((len(cell.id) for cell in made.cells), default=0)
    for cell in made.cells:
        said = "cached" if cell.found else f"error: {cell.error}" if cell.error else "will run"
        cost = f", about {cell.cost_s:.0f} s" if cell.will_run and cell.cost_s is not None else ""
        print(f"{cell.id:{width}}  {cell.toolchain:9}  {said}{cost}")
    for target, why in made.left_out.items():
        print(f"{target} is left out: {why}")
    print(_summed(len(made.cells), len(run), known))
    return 0


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
    quiet: Annotated[
        bool, Parameter(name=["--quiet", "-q"], negative="", help="Print failures and the result.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Convert the matrix. Exit code 0 if every cell is green or fails as expected, else 8."""
    from converter.cli import print_json
    from converter.cli.zoo_progress import ZooReporter
    from converter.zoo.build import build as run

    with ZooReporter(quiet=quiet or json) as reporter:
        made = run(manifest, out, reporter, only=only or (), scheduler=scheduler, database=database)
    good = all(cell.status.is_good for cell in made.cells)
    if json:
        print_json(made.to_json())
    else:
        for line in _told(made):
            print(line, file=sys.stderr)
        print(out / "index.json", flush=True)
    return 0 if good else 8


def _told(made: object) -> Iterator[str]:
    from collections import Counter

    from converter.zoo.index import Index

    assert isinstance(made, Index)
    counts = Counter(cell.status.value for cell in made.cells)
    said = ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in counts.items())
    cached = sum(cell.cached for cell in made.cells)
    yield f"{len(made.cells)} cells: {said}; {cached} from the cache, {made.build.seconds:.1f} s."
