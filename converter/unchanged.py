"""Whether what was hashed is still what lies there: a conversion reads its source more than once."""

from __future__ import annotations

from pathlib import Path

from converter.archive.opened import Archive
from converter.calibration.dataset import Calibration
from converter.calibration.files import Tree
from converter.digests import sha256_of
from converter.errors import ArchiveError, UsageError
from converter.plans import Plan


def check_unchanged(archive: Archive, plan: Plan) -> None:
    """See that the result is that of the files which the plan and the build record name.

    Files that were unpacked into a folder of ours are not looked at again.

    Raises:
        ArchiveError: A file of the model is another one now.
        UsageError: The calibration data are.
    """
    for stage in plan.stages:
        files = {} if archive.is_unpacked else stage.model.files
        for name, sha256 in files.items():
            path = archive.path(name)
            if not path.is_file() or sha256_of(path) != sha256:
                raise ArchiveError(
                    f"{path} was changed while it was converted.", remedy="Convert again."
                )
        data = getattr(stage.parameters, "calibration", None)
        for item in data.inputs if isinstance(data, Calibration) else ():
            root = Path(item.root)
            if not root.exists() or Tree.open(root).digest(item.files) != item.sha256:
                raise UsageError(
                    f"The calibration data in {root} were changed while they were used.",
                    remedy="Convert again.",
                )
