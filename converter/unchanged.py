"""Whether files are still what was hashed: a conversion reads its source more than once."""

from __future__ import annotations

from pathlib import Path

from converter.archive.opened import Archive
from converter.calibration.dataset import Calibration
from converter.calibration.files import Tree
from converter.digests import sha256_of
from converter.errors import ArchiveError, UsageError
from converter.plans import Plan


def check_unchanged(archive: Archive, plan: Plan) -> None:
    """Check that the files which the plan and the build record name were not changed.

    Files that were unpacked into the converter's work folder are not checked again.

    Raises:
        ArchiveError: A file of the model was changed.
        UsageError: The calibration data, or the frames that were compared on, were changed.
    """
    for stage in plan.stages:
        files = {} if archive.is_unpacked else stage.model.files
        for name, sha256 in files.items():
            path = archive.given(name)
            if not path.is_file() or sha256_of(path) != sha256:
                raise ArchiveError(
                    f"{path} was changed while it was converted.", remedy="Convert again."
                )
        data = getattr(stage.parameters, "calibration", None)
        if isinstance(data, Calibration):
            _check_frames(data, "calibration data")
        if stage.frames is not None:
            _check_frames(stage.frames.data, "frames of the comparison")


def _check_frames(data: Calibration, what: str) -> None:
    for item in data.inputs:
        root = Path(item.root)
        if not root.exists() or Tree.open(root).digest(item.files) != item.sha256:
            raise UsageError(
                f"The {what} in {root} were changed while they were used.", remedy="Convert again."
            )
