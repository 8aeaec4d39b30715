"""Commands for several files: each is tried, whatever becomes of the others; one exit code tells."""

# ruff: noqa: T201 - printing is what this module is for

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from converter.errors import Cancelled, ConvertError, to_json

T = TypeVar("T")
_BUG = 1


@dataclass(frozen=True, kw_only=True)
class Tried(Generic[T]):
    """What became of one file: a result or an error."""

    subject: str
    result: T | None = None
    error: ConvertError | None = None

    @property
    def exit_code(self) -> int:
        """That of the error; 0 without one."""
        return self.error.exit_code if self.error else 0

    def error_json(self) -> dict[str, Any]:
        """The error as JSON has it."""
        assert self.error is not None
        return to_json(self.error)


def attempt(subject: str, call: Callable[[], T]) -> Tried[T]:
    """Call, and keep the error if there is one; a bug in the converter is one of code 1.

    Raises:
        Cancelled: The user stopped it; nothing more is tried then.
    """
    try:
        return Tried(subject=subject, result=call())
    except Cancelled:
        raise
    except ConvertError as error:
        return Tried(subject=subject, error=error)
    except Exception as error:  # noqa: BLE001 - one file must not keep the others from being done
        said = f"A bug in the converter: {type(error).__name__}: {error}"
        remedy = "Run again with that file alone and --debug, and report what it prints."
        return Tried(
            subject=subject,
            error=ConvertError(said, remedy=remedy, tool_text=traceback.format_exc()),
        )


def say_error(tried: Tried[Any]) -> None:
    """The error on standard error, with the file in front; its findings below it."""
    error = tried.error
    assert error is not None
    several = len(error.findings) > 1
    said = " ".join((error.message if several else str(error)).split())
    place = "" if said.startswith(tried.subject) else f"{tried.subject}: "
    print(f"error: {place}{said}", file=sys.stderr)
    for finding in error.findings if several else ():
        print("  " + " ".join(str(finding).split()), file=sys.stderr)


def worst(codes: Iterable[int]) -> int:
    """The exit code for several: the highest, but a bug in the converter (1) before all others."""
    found = list(codes)
    return _BUG if _BUG in found else max(found, default=0)
