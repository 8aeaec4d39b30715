"""Where an error begins: a model's inner tensors beside those of the network made of it.

Both run on ONNX Runtime, in a child process; only figures come back.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter.processes.run import Processes
from converter.verification.reference import Tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The tensor in which so much of the final error is there is the one where it begins.
_SHARE: Final = 0.5
# What float16 rounds away in a tensor, at most.
_ROUNDING: Final = 1e-3
LARGEST_HALF: Final = 65504.0
_SMALLEST_HALF: Final = 2.0**-14
# Beyond this multiple of what nearly all values reach, a range is stretched by few.
_STRETCHED: Final = 6.0
# How a rewrite ends the names of the nodes that it makes of a node.
_MADE: Final = re.compile(r"(/[A-Za-z0-9]+\.\d+(:\d+)?)+$")


@dataclass(frozen=True, kw_only=True)
class Traced:
    """One tensor of the reference and what the other network has in its place.

    Attributes:
        node, operator: What makes it.
        inputs: The computed tensors that the node reads.
        raw: The relative error as the node gives it; error: as the next nodes get it (quantized,
            rounded). Every channel counts the same, at most as lost. None where the other network has
            no such tensor.
        largest: The largest absolute value in the reference; usual: what 99.9 % of them stay below.
        channel: The channel of the largest one, if the tensor has channels; half: what half of the
            channels stay below.
        weighted: Whether the node has constant weights.
    """

    tensor: str
    node: str
    operator: str
    inputs: tuple[str, ...]
    raw: float | None
    error: float | None
    largest: float
    usual: float
    channel: int | None = None
    half: float = 0.0
    weighted: bool = False

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The row that the child wrote down."""
        return cls(**{**data, "inputs": tuple(data["inputs"])})

    @property
    def name(self) -> str:
        """The node as the source's author knows it, with its operator."""
        return node_name(self.node, self.operator)

    @property
    def range_note(self) -> str:
        """What is remarkable of its range; empty if nothing is."""
        where = "" if self.channel is None else f" (channel {self.channel})"
        if self.channel is not None and 0 < _STRETCHED * self.half < self.largest:
            return (
                f"its range is that of few channels: it reaches {self.largest:.3g}{where}, half of the "
                f"channels stay below {self.half:.3g}"
            )
        if self.largest <= _STRETCHED * self.usual or not self.usual:
            return ""
        return (
            f"few values stretch its range: it reaches {self.largest:.3g}{where}, "
            f"99.9 % of the values stay below {self.usual:.3g}"
        )

    @property
    def is_off(self) -> bool:
        """Whether the other network is off by more than float16's rounding, or has it not."""
        return self.error is None or not self.error <= _ROUNDING  # also where both are infinite

    @property
    def overflows(self) -> bool:
        """Whether some of its values are beyond float16's range."""
        return self.largest > LARGEST_HALF

    @property
    def half_note(self) -> str:
        """Why float16 cannot hold it; empty if it can."""
        if self.overflows:
            return f"its values reach {self.largest:.3g}, float16 ends at 65504"
        if 0 < self.largest < _SMALLEST_HALF:
            return f"its values stay below {self.largest:.3g}, where float16 has hardly a digit left"
        return ""


def node_name(node: str, operator: str) -> str:
    """A node as the source's author knows it: rewrites put their own names behind a node's."""
    return f"{source_name(node)!r} ({operator})"


def source_name(node: str) -> str:
    """A node's name in the source, without what rewrites put behind it."""
    return _MADE.sub("", node)


def trace(
    reference: Path,
    actual: Path,
    reference_feeds: Sequence[Mapping[str, NDArray[Any]]],
    actual_feeds: Sequence[Mapping[str, NDArray[Any]]],
    *,
    suffix: str = "",
    processes: Processes,
    work: Path,
    timeout_s: float,
) -> list[Traced]:
    """The tensors of a model in the order in which they are computed, beside another network's.

    Args:
        reference, actual: ONNX files; tensors of the same name belong together.
        suffix: How the name of a tensor ends in `actual` once it is rounded as the next node gets it.
        work: An existing folder for the tensors, one for each call.

    Raises:
        ToolError: A runtime failed.
    """
    tensors = Tensors([*reference_feeds[0], *actual_feeds[0]])
    jobs = [
        [str(tensors.write(work / f"{side}-{index}.npz", feed)) for side, feed in sides.items()]
        for index, sides in enumerate(
            {"reference": one, "actual": other}
            for one, other in zip(reference_feeds, actual_feeds, strict=True)
        )
    ]
    rows = processes.call(
        "converter.verification.inner_tensors:trace_files",
        {
            "reference": str(reference),
            "actual": str(actual),
            "jobs": jobs,
            "inputs": [list(reference_feeds[0]), list(actual_feeds[0])],
            "keys": tensors.keys,
            "suffix": suffix,
        },
        what="ONNX Runtime",
        work=work,
        timeout_s=timeout_s,
    )
    return [Traced.from_json(row) for row in rows]


def behind(rows: Sequence[Traced], outputs: Sequence[str]) -> list[Traced]:
    """The rows of what outputs are computed from; all where none of them is known.

    An error in another branch is none of theirs.
    """
    needed = {name for name in outputs if any(row.tensor == name for row in rows)}
    if not needed:
        return list(rows)
    for row in reversed(rows):
        if row.tensor in needed:
            needed.update(row.inputs)
    return [row for row in rows if row.tensor in needed]


def begins(rows: Sequence[Traced], final: float) -> Traced | None:
    """The first tensor that has much of a final error while its inputs have not.

    An output of codes has no error of its own here: it is where the error begins if its inputs are not.
    Where the errors add up in many tensors, it is the one that adds most; None where none adds any.

    Args:
        rows: Of what the output that is off is computed from (`behind`).
        final: The relative RMSE of that output.
    """
    errors = {row.tensor: row.error for row in rows}
    given = {row.tensor: [errors.get(name) or 0.0 for name in row.inputs] for row in rows}
    for row in rows:
        if row.error is None or row.error < _SHARE * final:
            continue
        if all(error < _SHARE * final for error in given[row.tensor]):
            return row
    if rows and rows[-1].error is None and max(given[rows[-1].tensor], default=0.0) < _SHARE * final:
        return dataclasses.replace(rows[-1], error=final)
    adds = {row.tensor: (row.error or 0.0) - max(given[row.tensor], default=0.0) for row in rows}
    most = max(rows, key=lambda row: adds[row.tensor], default=None)
    return most if most is not None and adds[most.tensor] > 0 else None


def leaves_half(rows: Sequence[Traced], *, finite: bool = True) -> Traced | None:
    """The first tensor that float16 cannot hold, and that suffers from it where any is seen to.

    A mask of -1e9 is beyond float16's range, too, and no harm is done. Some networks round a tensor
    only as the next node gets it: then that node alone is off.

    Args:
        finite: Whether the output that is off is finite; if not, something overflows.
    """
    noted = [row for row in rows if row.half_note]
    if not finite:
        noted = [row for row in noted if row.overflows] or noted
    off = {row.tensor for row in rows if row.is_off}
    only = [(row.inputs[0], row) for row in rows if len(row.inputs) == 1]
    spoilt = {name for name, row in only if row.is_off and name not in off}
    harmed = next((row for row in noted if row.is_off or row.tensor in spoilt), None)
    seen = any(row.is_off for row in rows)
    return harmed or (noted[0] if noted and not seen else None)
