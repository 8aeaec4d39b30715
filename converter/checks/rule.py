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
        codes: What it may find.
        sides: The archives it is for.
        needs_schema: Whether it reads the config as one of the right shape.
    """

    find: Callable[[Subject], Iterable[Finding]]
    codes: tuple[str, ...]
    sides: frozenset[Side] = BOTH
    needs_schema: bool = True
