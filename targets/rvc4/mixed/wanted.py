"""What the options ask for: a limit, tensors by name, an assignment that was found before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from converter.backend import Backend
from converter.errors import UsageError
from converter.model import SourceModel
from converter.options.resolve import Options
from targets.rvc4.mixed.assignment import Assignment, read_assignment
from targets.rvc4.quantization.modes import Precision

Metric = Literal["error", "head", "labels"]
MAX_DROP: Final = "rvc4.max_drop"
METRIC: Final = "rvc4.drop_metric"
WIDE: Final = "rvc4.wide"
FLOAT: Final = "rvc4.float"
FILE: Final = "rvc4.precision_file"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which tensors of an 8-bit network are to have 16 bits.

    Attributes:
        max_drop: What the outputs may lose; None where nothing is searched.
        metric: Of what: the worst part's relative RMSE, the head's figure, that of labelled frames.
        names: Nodes, tensors, patterns and heads that the user named.
        floats: The same of those that are to compute in float16, in any integer mode.
        assignment: One that was given.
    """

    max_drop: float | None = None
    metric: Metric = "error"
    names: tuple[str, ...] = ()
    floats: tuple[str, ...] = ()
    assignment: Assignment | None = None

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return (
            self.max_drop is not None or bool(self.names or self.floats) or self.assignment is not None
        )

    def to_json(self) -> dict[str, Any]:
        """The plan's entry."""
        given = self.assignment
        return {
            "max_drop": self.max_drop,
            "metric": self.metric if self.max_drop is not None else None,
            "wide": list(self.names),
            **({"float": list(self.floats)} if self.floats else {}),
            "file": {"sha256": given.sha256, "wide": len(given.wide)} if given else None,
        }


def wanted(
    model: SourceModel,
    options: Options,
    mode: str,
    precision: Precision,
    backend: Backend,
    recorded: Mapping[str, Any] | None,
) -> tuple[Wanted, Precision]:
    """What is asked for, and the precision of the network that it begins with.

    A mode of 16-bit activations begins with 8 bits where a limit is given: the search tells which
    nodes need 16.

    Raises:
        UsageError: The mode or the toolchain has nothing of the kind, or options exclude each other.
    """
    limit = options.get(MAX_DROP)
    max_drop = float(limit) if isinstance(limit, int | float) else None
    if max_drop is not None:
        _require_integers(MAX_DROP, mode, is_possible=precision.weights == 8 and not precision.is_float)
        precision = dataclasses.replace(precision, activations=8)
    if recorded is not None:  # the assignment is in the record
        return Wanted(), precision
    # Names and files are of the first stage's tensors.
    names = options.words(WIDE) if model.link is None else ()
    floats = options.words(FLOAT) if model.link is None else ()
    file = options.text(FILE) if model.link is None else None
    if floats and precision.is_float:
        raise UsageError(
            f"{FLOAT}: in {mode} all nodes compute in float16.",
            remedy="Leave it out, or choose an INT mode.",
        )
    for key, value in ((WIDE, names), (FILE, file)):
        if value:
            _require_integers(key, mode, is_possible=precision.activations == 8)
    if max_drop is None and options.get(METRIC) not in (None, "error"):
        raise UsageError(f"{METRIC} says what {MAX_DROP} limits.", remedy=f"Set {MAX_DROP} as well.")
    if max_drop is not None and file:
        raise UsageError(
            f"{FILE} is an assignment that was found, and {MAX_DROP} searches for one.",
            remedy="Leave one of them out.",
        )
    _require_native(backend, {MAX_DROP: max_drop is not None, WIDE: bool(names), FLOAT: bool(floats)})
    metric = cast("Metric", options.get(METRIC) or "error")
    if metric == "labels" and max_drop is not None and not options.text("verify.labels"):
        raise UsageError(f"{METRIC}=labels needs labels.", remedy="Give verify.labels and verify.data.")
    given = read_assignment(Path(file), FILE) if file else None
    found = Wanted(
        max_drop=max_drop, metric=metric, names=tuple(names), floats=tuple(floats), assignment=given
    )
    return found, precision


def _require_integers(key: str, mode: str, *, is_possible: bool) -> None:
    if not is_possible:
        raise UsageError(
            f"{key} is about 16-bit tensors in a network of 8-bit ones; {mode} has none of 8 bits.",
            remedy="Leave it out, or choose rvc4.quantization_mode=INT8_STANDARD.",
        )


def _require_native(backend: Backend, given: Mapping[str, bool]) -> None:
    if backend.toolchain == "native" or not any(given.values()):
        return
    keys = ", ".join(key for key, is_given in given.items() if is_given)
    raise UsageError(
        f"{keys}: only the native toolchain has that.",
        remedy=f"Convert with --toolchain native, and give SNPE what was found: {FILE}=buildinfo.json.",
    )
