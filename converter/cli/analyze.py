"""`analyze`: where a converted network loses its accuracy, layer by layer."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from converter.cli import print_json
from converter.cli.progress import Reporter
from converter.options.resolve import from_arguments, resolve


def analyze(
    archive: Path,
    against: Path,
    data: Path | None,
    overrides: Sequence[str],
    *,
    report: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Exit code 0 when the layers could be measured, whatever they lose."""
    from converter.analysis.archive import analyze_archive
    from converter.analysis.table import lines

    with Reporter(quiet=as_json or quiet, notices=not quiet) as reporter:
        found = analyze_archive(
            archive,
            against,
            data=data,
            options=resolve([from_arguments(overrides)]),
            on_event=reporter,
            report=report,
        )
    if as_json:
        print_json(found)
        return 0
    for name, stage in found["stages"].items():
        if len(found["stages"]) > 1:
            print(f"{name}:")
        for line in lines(stage):
            print(line)
    if found["verification"]["message"]:
        print(f"The verification failed: {found['verification']['message']}")
    if report is not None:
        print(report)
    return 0
