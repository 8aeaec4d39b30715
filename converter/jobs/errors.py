"""What can be wrong with jobs and their files."""

from __future__ import annotations

from converter.errors import ConvertError
from converter.storage import Corrupt as Corrupt
from converter.storage import Missing as Missing


class Conflict(ConvertError):  # noqa: N818 - what happened
    """A job of that id is on record, and it is another one; or it is in a state that forbids it."""

    exit_code = 2


class DatabaseAway(ConvertError):  # noqa: N818 - what happened
    """The database does not answer, or has no room; it may later."""

    exit_code = 6


class OtherVersion(ConvertError):  # noqa: N818 - what happened
    """The database, or a worker, is of another version."""

    exit_code = 5
