"""What can be wrong with jobs."""

from __future__ import annotations

from converter.errors import ToolchainError, ToolError, UsageError
from converter.storage import Corrupt as Corrupt
from converter.storage import Missing as Missing


class Conflict(UsageError):  # noqa: N818 - what happened
    """A job of that id is on record, and it is another one; or it is in a state that forbids it."""


class DatabaseAway(ToolError):  # noqa: N818 - what happened
    """The database does not answer, or has no room; it may later."""


class OtherVersion(ToolchainError):  # noqa: N818 - what happened
    """The database, or a worker, is of another version."""
