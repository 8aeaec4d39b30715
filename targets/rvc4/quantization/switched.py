"""The float model with tensors that are rounded to codes, which are inputs of the session.

So one session has the outputs for any choice of ranges and widths. Weights are not rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import Builder

if TYPE_CHECKING:
    from numpy.typing import NDArray

Range = tuple[float, float]
# Step, lowest and highest code.
Codes = tuple[float, float, float]
_KINDS: Final = ("step", "low", "high")
# Steps that are too small to matter.
_EXACT: Final[Codes] = (2.0**-40, -np.inf, np.inf)
_TINY: Final = 1e-30


def switched(model: str, names: Sequence[str]) -> Any:
    """The float model with step, lowest and highest code of each tensor as further inputs."""
    from converter.sources.onnx_session import session_of

    made = ir.load(model)
    graph = made.graph
    values = {str(value.name): value for value in graph.inputs}
    values |= {str(value.name): value for node in graph for value in node.outputs}
    for index, name in enumerate(names):
        value = values[name]
        readers = list(value.uses())
        limits = [
            ir.Value(
                name=f"nnconvert:{kind}:{index}",
                shape=ir.Shape([]),
                type=ir.TensorType(ir.DataType.FLOAT),
            )
            for kind in _KINDS
        ]
        graph.inputs.extend(limits)
        step, low, high = limits
        b = Builder(graph, f"{name}/codes")
        codes = b.op("Round", b.op("Div", value, step))
        coded = b.op("Mul", b.op("Min", b.op("Max", codes, low), high), step)
        for node, place in readers:
            node.replace_input_with(place, coded)
        maker = value.producer()
        if maker is None:
            graph.insert_before(graph[0], b.nodes)
        else:
            graph.insert_after(maker, b.nodes)
    path = f"{model}.ranges.onnx"
    ir.save(made, path, external_data=f"{Path(path).name}.data", size_threshold_bytes=4096)
    return session_of(path)


def outputs_of(
    session: Any, feeds: Sequence[Mapping[str, NDArray[Any]]], codes: Sequence[Codes | None]
) -> list[list[NDArray[Any]]]:
    """The outputs of each frame.

    Args:
        session: Of `switched`.
        feeds: Frames as the float model takes them, by input name.
        codes: Of each tensor (`codes_of`); None for one that is not rounded.
    """
    told: dict[str, NDArray[np.float32]] = {}
    for index, item in enumerate(codes):
        for kind, number in zip(_KINDS, item or _EXACT, strict=True):
            told[f"nnconvert:{kind}:{index}"] = np.array(number, np.float32)
    return [session.run(None, {**feed, **told}) for feed in feeds]


def codes_of(limits: Range, bits: int) -> Codes:
    """The step of a range, its lowest and its highest code; 0 is one of them."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    return step, -float(zero), float(2**bits - 1 - zero)


def distance(
    expected: Sequence[Sequence[NDArray[Any]]], found: Sequence[Sequence[NDArray[Any]]]
) -> float:
    """The mean over the float outputs of the relative RMSE over all frames."""
    errors = []
    for one, other in zip(zip(*expected, strict=True), zip(*found, strict=True), strict=True):
        if one[0].dtype.kind != "f":
            continue
        a, b = (np.concatenate([np.ravel(x) for x in side]).astype(np.float64) for side in (one, other))
        energy = np.square(a - a.mean()).sum() if a.size > 1 else np.square(a).sum()
        errors.append(np.sqrt(np.square(a - b).sum() / max(energy, _TINY)))
    return float(np.mean(errors)) if errors else 0.0
