"""The errors a user can meet: one class for each cause, each with its documented exit code.

A message is one line: what, where (JSON path, node, file) and what to do. One error carries all
findings that belong together, so that a user can correct them all at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from converter.findings import Finding, Severity


class ConvertError(Exception):
    """Anything that ends a conversion for a reason a user can act on.

    Attributes:
        exit_code: The exit code of the process (see the README's table); a command may change it.
        remedy: What to do about it; empty where the message says so already.
        findings: The single problems behind the message, if there are several.
        tool_text: The whole output of the vendor's tool, for `--debug`.
    """

    exit_code: int = 1

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        findings: Sequence[Finding] = (),
        tool_text: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.findings = tuple(findings)
        self.tool_text = tool_text

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()

    def _render_traceback_(self) -> list[str]:
        """What a notebook shows instead of a traceback: the findings, in arguments and not in flags."""
        from converter.arguments import in_arguments

        lines = [self.message, *map(str, self.findings)] if len(self.findings) > 1 else [str(self)]
        return [f"{type(self).__name__}: {in_arguments(lines[0])}", *map(in_arguments, lines[1:])]


class UsageError(ConvertError):
    """A wrong option, value or output path."""

    exit_code = 2


class ArchiveError(ConvertError):
    """The source is not an archive, is broken or hostile, or contradicts itself."""

    exit_code = 3


class ModelError(ConvertError):
    """The model cannot be converted: an operator, a shape, a data type."""

    exit_code = 4


class ToolchainError(ConvertError):
    """A toolchain is missing, damaged or cannot run on this machine."""

    exit_code = 5


class ToolError(ConvertError):
    """A tool failed, crashed, ran out of time or wrote something else than was asked for.

    Attributes:
        ended_itself: Whether the tool ended by itself; its last output is then the reason.
        was_killed: Whether something else than this program killed it (SIGKILL).
    """

    exit_code = 6
    ended_itself = False
    was_killed = False


class VerificationError(ConvertError):
    """The compiled model does not compute what the source computes."""

    exit_code = 7


class Cancelled(ConvertError):  # noqa: N818 - what happened, not what went wrong
    """The user or the caller stopped the conversion."""

    exit_code = 130


def not_a_file(path: str | os.PathLike[str], remedy: str, *, option: str = "") -> UsageError:
    """The error for a path that is not a file; `option` is the option that named it."""
    wrong = "is a folder" if Path(path).is_dir() else "is no regular file"
    what = wrong if os.path.lexists(path) else "no such file or folder"
    place = f"{option}: {os.fspath(path)}" if option else os.fspath(path)
    return UsageError(f"{place}: {what}.", remedy=remedy)


def from_findings(error: type[ConvertError], subject: str, findings: Sequence[Finding]) -> ConvertError:
    """One error that carries every finding; the message of a single finding is the error's message."""
    if len(findings) == 1:
        only = findings[0]
        return error(only.one_line, remedy=only.remedy, findings=findings)
    return error(f"{subject}: {len(findings)} problems.", findings=findings)


def to_json(error: ConvertError) -> dict[str, Any]:
    """An error as plain JSON data, to cross a process boundary or to be printed."""
    return {
        "kind": type(error).__name__,
        "exit_code": error.exit_code,
        "message": error.message,
        "remedy": error.remedy,
        "findings": [finding.to_json() for finding in error.findings],
        "tool_text": error.tool_text,
    }


def from_json(data: dict[str, Any]) -> ConvertError:
    """The error that `to_json` wrote down."""
    kinds = {kind.__name__: kind for kind in ConvertError.__subclasses__()}
    return kinds[data["kind"]](
        data["message"],
        remedy=data["remedy"],
        findings=[
            Finding(**{**finding, "severity": Severity(finding["severity"])})
            for finding in data["findings"]
        ],
        tool_text=data["tool_text"],
    )


def disk_error(error: OSError, doing: str) -> ToolError:
    """The error for an `OSError` that neither the archive nor the model caused."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ToolError(
            f"The disk is full while {doing}.",
            remedy="Make room, or point TMPDIR to a larger disk.",
        )
    return ToolError(f"{doing[:1].upper()}{doing[1:]} failed: {error}.")
