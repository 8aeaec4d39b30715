"""The child's part of `converter.verification.trace`: inner tensors of two networks, in figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from converter.verification.reference import Tensors, with_outputs

# How many bytes of inner tensors are in memory at a time.
_CHUNK_BYTES: Final = 400_000_000


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
    for names in chunks(graph, list(made)):
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


def chunks(graph: Any, names: Sequence[str]) -> Iterator[list[str]]:
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
