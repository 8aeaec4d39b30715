"""The notebook of the documentation runs from top to bottom, and shows what it promises."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from targets.rvc2.myriad.toolchain import Toolchain
from tests.sources import DIGITS, DIGITS_ARCHIVE

NOTEBOOK = Path(__file__).parents[2] / "docs" / "first-conversion.ipynb"


def _shown(cell: Any) -> str:
    """What a cell shows, as a notebook would: HTML where there is some."""
    found = (output.get("data", {}) for output in cell.outputs)
    return "\n".join(data.get("text/html") or data.get("text/plain", "") for data in found)


@pytest.mark.network
def test_the_notebook_runs_and_shows_what_it_says(tmp_path: Path, toolchain: Toolchain) -> None:
    shutil.copy(DIGITS_ARCHIVE, tmp_path)
    shutil.copytree(DIGITS / "calibration", tmp_path / "calibration")
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "commit it without outputs"
    NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    archive, plan, done, figures, report, preview = (
        _shown(cell) for cell in book.cells if cell.cell_type == "code"
    )
    assert "scores" in archive
    assert "rvc2" in plan
    assert "verification: passed" in done
    assert "'passed'" in figures
    assert "srcdoc=" in report
    assert "data:image/png;base64," in preview
    assert (tmp_path / "new" / "report.html").is_file()
