"""Analyzing a converted archive: it is made or run again as `verify` does, its layers are measured."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converter.analysis.page import write_page
from converter.errors import UsageError, VerificationError
from converter.events import OnEvent
from converter.options.resolve import Options
from converter.recheck import Compared, compare_again
from converter.report_page.place import page_place


def analyze_archive(
    archive: str | os.PathLike[str],
    against: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | Options | None = None,
    on_event: OnEvent | None = None,
    report: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Where a converted archive loses its accuracy.

    Args:
        archive: An archive that this converter wrote for RVC2, or with the native toolchain for RVC4.
        against: The source archive it was made from.
        data: Frames to measure on; as for `converter.verify`.
        options: The options `verify.…`, by key.
        report: A page to write (`.html`).

    Returns:
        `archive`, `against`, `sha256` of the compiled file, `verification` (`status`, `message`), and
        `stages`: by model file `converter.analysis.layer.Analysis.to_json`.

    Raises:
        ArchiveError: This converter did not write the archive, or it is of another source.
        UsageError: Its target does not tell what layers lose.
        VerificationError: The installed tools make another file from the source.
    """
    page = page_place(report)
    compared = Compared(layers={})
    said = ""
    try:
        compare_again(
            archive,
            against,
            compared,
            data=data,
            options=options,
            usual={"verify.emulator": False},
            on_event=on_event,
        )
    except VerificationError as error:
        # What fails its verification is what wants an analysis.
        if not compared.layers or not error.tool_text:
            raise
        said = error.message
    if not compared.layers:
        raise UsageError(
            f"{Path(archive).name}: its layers cannot be run on this machine.",
            remedy="Analyze one for RVC2, or one for RVC4 that was made with --toolchain native.",
        )
    document = {
        "archive": Path(archive).name,
        "against": Path(against).name,
        "sha256": compared.record.get("sha256"),
        "verification": {"status": "failed" if said else "passed", "message": said},
        "stages": compared.layers,
    }
    if page is not None:
        write_page(page, document)
    return document
