"""Where an error begins: a model's inner tensors beside those of the network made of it.

Both run on ONNX Runtime, in a child process; only figures come back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from converter.processes.run import Processes
from converter.verification.reference import Tensors, with_outputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How many bytes of inner tensors are in memory at a time.
_CHUNK_BYTES: Final = 400_000_000
# The tensor in which so much of the final error is there is the one where it begins.
_SHARE: Final = 0.5
# What float16 rounds away in a tensor, at most.
_ROUNDING: Final = 1e-3
_LARGEST_HALF: Final = 65504.0
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
        """Whether the other network has it otherwise than float16's rounding makes it, or has it not."""
        return self.error is None or self.error > _ROUNDING

    @property
    def half_note(self) -> str:
        """Why float16 cannot hold it; empty if it can."""
        if self.largest > _LARGEST_HALF:
            return f"its values reach {self.largest:.3g}, float16 ends at 65504"
        if 0 < self.largest < _SMALLEST_HALF:
            return f"its values stay below {self.largest:.3g}, where float16 has hardly a digit left"
        return ""


def node_name(node: str, operator: str) -> str:
    """A node as the source's author knows it: rewrites put their own names behind a node's."""
    return f"{_MADE.sub('', node)!r} ({operator})"


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
        "converter.verification.trace:trace_files",
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

    Args:
        rows: Of what the output that is off is computed from (`behind`).
        final: The relative RMSE of that output.
    """
    errors = {row.tensor: row.error for row in rows}
    for row in rows:
        if row.error is None or row.error < _SHARE * final:
            continue
        given = [errors.get(name) for name in row.inputs]
        if all(error is None or error < _SHARE * final for error in given):
            return row
    return None


def leaves_half(rows: Sequence[Traced]) -> Traced | None:
    """The first tensor that float16 cannot hold, and that suffers from it where any is seen to.

    A mask of -1e9 is beyond float16's range, too, and no harm is done.
    """
    noted = [row for row in rows if row.half_note]
    harmed = next((row for row in noted if row.is_off), None)
    seen = any(row.is_off for row in rows)
    return harmed or (noted[0] if noted and not seen else None)


# ------------------------------------------------------------ in the child


@dataclass
class _Sums:
    """Of one tensor, over the frames: squares and the largest value by channel."""

    square: Any = 0.0
    raw: Any = None
    error: Any = None
    channels: Any = 0.0
    usual: float = 0.0


def trace_files(
    reference: str,
    actual: str,
    jobs: Sequence[Sequence[str]],
    inputs: Sequence[Sequence[str]],
    keys: Mapping[str, str],
    suffix: str,
) -> list[dict[str, Any]]:
    """The child's part of `trace`."""
    import onnx

    from converter.sources.onnx_session import session_of

    graph = onnx.load(reference, load_external_data=False).graph
    there = {
        name for node in onnx.load(actual, load_external_data=False).graph.node for name in node.output
    }
    weights = {tensor.name for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output if name}
    sums = {name: _Sums() for name in made}
    tensors = Tensors(list(keys))
    for names in _chunks(graph, list(made)):
        wanted = [name for name in names if name in there]
        rounded = [f"{name}{suffix}" for name in names if suffix and f"{name}{suffix}" in there]
        models = with_outputs(reference, names), with_outputs(actual, [*wanted, *rounded])
        sessions = [session_of(model, exact=True) for model in models]
        for pair in jobs:
            feeds = [
                tensors.read(Path(path), list(side)) for path, side in zip(pair, inputs, strict=True)
            ]
            expected = dict(
                zip(names, sessions[0].run(names, _typed(sessions[0], feeds[0])), strict=True)
            )
            found = dict(
                zip(
                    [*wanted, *rounded],
                    sessions[1].run([*wanted, *rounded], _typed(sessions[1], feeds[1])),
                    strict=True,
                )
            )
            for name in names:
                _add(sums[name], expected[name], found.get(name), found.get(f"{name}{suffix}"))
    return [
        {
            "tensor": name,
            "node": node.name or node.output[0],
            "operator": node.op_type,
            "inputs": [value for value in node.input if value in made],
            "weighted": any(value in weights for value in node.input),
            **_errors(sums[name]),
            **_reach(sums[name]),
        }
        for name, node in made.items()
    ]


def _chunks(graph: Any, names: Sequence[str]) -> Iterator[list[str]]:
    """Names of tensors whose values fit into memory together, by the shapes that are known."""
    sizes: dict[str, int] = {}
    for value in (*graph.value_info, *graph.output):
        count = 1
        for dimension in value.type.tensor_type.shape.dim:
            count *= max(dimension.dim_value, 1)
        sizes[value.name] = 4 * count
    part: list[str] = []
    total = 0
    for name in names:
        size = 3 * sizes.get(name, 4_000_000)
        if part and total + size > _CHUNK_BYTES:
            yield part
            part, total = [], 0
        part.append(name)
        total += size
    yield part


def _typed(session: Any, feed: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {"tensor(float)": "float32", "tensor(float16)": "float16"}
    types = {item.name: kinds.get(item.type) for item in session.get_inputs()}
    return {
        name: values if types[name] is None else values.astype(types[name])
        for name, values in feed.items()
        if name in types
    }


def _add(sums: _Sums, expected: Any, raw: Any, rounded: Any) -> None:
    import numpy as np

    values = np.asarray(expected)
    if values.dtype.kind != "f" or not values.size:
        return
    values = _by_channel(values)
    sizes = np.abs(values)
    sums.channels = np.maximum(sums.channels, sizes.max(axis=1))
    sums.usual = max(sums.usual, float(np.quantile(sizes, 0.999)))
    sums.square = sums.square + np.square(values).sum(axis=1)
    for key, other in (("raw", raw), ("error", rounded)):
        # A tensor of codes has the name of the numbers that it stands for.
        if other is None or other.dtype.kind != "f" or other.shape != expected.shape:
            continue
        difference = np.square(values - _by_channel(other)).sum(axis=1)
        total = np.where(np.isfinite(difference), difference, np.inf)
        known = getattr(sums, key)
        setattr(sums, key, total if known is None else known + total)


def _by_channel(values: Any) -> Any:
    """Values as (channels, rest), float64; channels are the second axis of three or more."""
    import numpy as np

    values = values.astype(np.float64)
    if values.ndim > 2:
        return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    return values.reshape(1, -1)


def _reach(sums: _Sums) -> dict[str, Any]:
    """How far the values reach."""
    import numpy as np

    channels = np.atleast_1d(sums.channels)
    return {
        "largest": float(channels.max()),
        "usual": sums.usual,
        "channel": int(channels.argmax()) if channels.size > 1 else None,
        "half": float(np.median(channels)) if channels.size > 1 else 0.0,
    }


def _errors(sums: _Sums) -> dict[str, float | None]:
    """Relative errors: the RMS over the channels, each of which is lost at most."""
    import numpy as np

    def relative(square: Any) -> float | None:
        if square is None:
            return None
        there = sums.square > 0
        if not there.any():
            return 0.0
        shares = np.minimum(square[there] / sums.square[there], 1.0)
        return float(np.sqrt(shares.mean()))

    raw, error = relative(sums.raw), relative(sums.error)
    if raw is not None and error is not None and raw > 2 * error + 1e-3:
        raw = None  # an activation is part of the rounding: the node gives what it has not cut yet
    return {"raw": raw, "error": raw if error is None else error}
