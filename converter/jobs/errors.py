"""What can be wrong with jobs and their files."""

from __future__ import annotations

from converter.errors import ToolchainError, ToolError, UsageError


class Conflict(UsageError):  # noqa: N818 - what happened
    """A job of that id is on record, and it is another one; or it is in a state that forbids it."""


class Missing(UsageError):  # noqa: N818 - what happened
    """There is no such job, or no such file in the storage."""


class Corrupt(ToolError):  # noqa: N818 - what happened
    """A file of the storage was damaged; it was removed."""


class DatabaseAway(ToolError):  # noqa: N818 - what happened
    """The database does not answer, or has no room; it may later."""


class OtherVersion(ToolchainError):  # noqa: N818 - what happened
    """The database, or a worker, is of another version."""
