"""Calls whose results may be kept for later: which of their arguments stand for files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

# What the calls of several targets make.
GRAPH: Final = "prepared graph"


@dataclass(frozen=True, kw_only=True)
class Pure:
    """A call whose result depends on nothing but its arguments, and on the files that they name.

    Attributes:
        stage: What it makes, for people: `prepared graph`.
        reads: The arguments that are paths of models; the files beside them count as well.
        writes: The argument that is the path of the model that it writes; None if it writes none.
        meant: For arguments that name files in another way: what stands for them, as plain JSON data
            without paths. It is asked before and after the call, and reads the files each time.
    """

    stage: str
    reads: tuple[str, ...] = ()
    writes: str | None = None
    meant: Mapping[str, Callable[[], Any]] = field(default_factory=dict)


class Memory(Protocol):
    """What keeps the results of pure calls (`converter.cache.stages`)."""

    def recall(
        self, pure: Pure, function: str, arguments: Mapping[str, Any], make: Callable[[], Any]
    ) -> Any:
        """The result of an earlier call, with the files that it wrote; else that of `make`."""
        ...
