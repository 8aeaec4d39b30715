"""A rule: one function, the codes it may give, and the archives it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from converter.checks.subject import Side, Subject
from converter.findings import Finding

BOTH: Final = frozenset(Side)
SOURCE: Final = frozenset({Side.SOURCE})
TARGET: Final = frozenset({Side.TARGET})


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A part of lint.

    Attributes:
        find: From an archive to findings; it changes nothing and runs nothing.
        codes: The codes of its findings.
        sides: The kinds of archives that it checks.
        needs_schema: Whether it needs a config that fits the schema.
    """

    find: Callable[[Subject], Iterable[Finding]]
    codes: tuple[str, ...]
    sides: frozenset[Side] = BOTH
    needs_schema: bool = True
