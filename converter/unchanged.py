"""Whether what was hashed is still what lies there: a conversion reads its source more than once."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from converter.archive import Archive
from converter.calibration import Calibration
from converter.errors import ArchiveError, UsageError
from converter.frame_files import Tree
from converter.plans import Plan


def check_unchanged(archive: Archive, plan: Plan) -> None:
    """See that the result is that of the files which the plan and the build record name.

    Files that were unpacked into a folder of ours are not looked at again.

    Raises:
        ArchiveError: A file of the model is another one now.
        UsageError: The calibration data are.
    """
    plans = [plan, *([plan.second] if plan.second else [])]
    for one in plans:
        for name, sha256 in one.model.files.items() if not archive.is_unpacked else ():
            if _sha256(archive.path(name)) != sha256:
                raise ArchiveError(
                    f"{archive.path(name)} was changed while it was converted.", remedy="Convert again."
                )
        data = getattr(one.parameters, "calibration", None)
        for item in data.inputs if isinstance(data, Calibration) else ():
            if Tree.open(Path(item.root)).digest(item.files) != item.sha256:
                raise UsageError(
                    f"The calibration data in {item.root} were changed while they were used.",
                    remedy="Convert again.",
                )


def _sha256(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return ""
