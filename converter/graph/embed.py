"""Preprocessing put into the graph: what a camera's frame must go through before the model.

Two forms that compute the same: nodes in front of the model, or, where scale and channel order can be
folded into the weights of the first convolution without losing precision, only the mean in front.
Folding the mean into a convolution that pads would be wrong at the borders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import Builder, array_of, int_attribute
from converter.preprocessing import Preprocessing

# Rounding a weight to float16 moves it by 2.8e-4 of its size on average (RMS). When scaling makes
# weights so small that rounding costs much more, they have left float16's normal range.
_MAX_ROUNDING_LOSS: Final = 5e-4
_TAKEN_AS_THEY_ARE: Final = (ir.DataType.FLOAT, ir.DataType.UINT8, ir.DataType.INT32)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How frames enter the graph at one input.

    Attributes:
        layout: The axes of the frame, as it will come in.
        model_layout: The axes of the input as the model has it; a permutation of `layout`.
        preprocessing: What to embed; None leaves colour, mean and scale to whoever feeds the model.
    """

    layout: str
    model_layout: str
    preprocessing: Preprocessing | None


class EmbedPreprocessing(ir.passes.InPlacePass):
    """Let each of the given inputs take frames; its name stays, its type becomes float32.

    Promises the shape that the frame has in `Entry.layout`.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        super().__init__()
        self._entries = entries

    def requires(self, model: ir.Model) -> None:
        """The inputs are there, with static shapes."""
        inputs = {value.name: value for value in model.graph.inputs}
        for name in self._entries:
            if name not in inputs:
                raise ir.passes.PreconditionError(f"no input {name!r}")
            shape = inputs[name].shape
            if shape is None or shape.is_dynamic():
                raise ir.passes.PreconditionError(f"the input {name!r} has no static shape")

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Insert what is needed in front of each input's consumers."""
        modified = False
        for value in list(model.graph.inputs):
            entry = self._entries.get(value.name or "")
            if entry is not None:
                modified |= _embed(model.graph, value, entry)
        return ir.passes.PassResult(model, modified)


def _embed(graph: ir.Graph, value: ir.Value, entry: Entry) -> bool:
    name = value.name or ""
    assert value.dtype is not None
    assert value.shape is not None
    dtype: ir.DataType = value.dtype
    shape = value.shape
    pre = entry.preprocessing or Preprocessing()
    to_frame = [entry.model_layout.index(axis) for axis in entry.layout]
    to_model = [entry.layout.index(axis) for axis in entry.model_layout]
    transposes = to_model != sorted(to_model)
    plain = not (transposes or pre.reverses or pre.normalizes)
    if plain and dtype in _TAKEN_AS_THEY_ARE:
        return False
    consumers = list(value.uses())
    b = Builder(graph, f"{name}/preprocessing")
    channel = entry.layout.index("C") if "C" in entry.layout else len(entry.layout) - 1
    x = value
    # A convolution's channels are its second axis, whatever the layout calls that.
    folded = channel == 1 and not transposes and _fold(graph, value, pre, b)
    if folded:
        # The weights now see BGR, so the mean is put in that order too.
        mean = pre.mean[::-1] if pre.reverses else pre.mean
        x = _per_channel(b, "Sub", x, mean, channel, len(shape)) if any(mean) else x
    else:
        if pre.reverses:
            x = b.op("Gather", x, b.constant([2, 1, 0], np.int64), axis=channel)
        if any(pre.mean):
            x = _per_channel(b, "Sub", x, pre.mean, channel, len(shape))
        if any(scale != 1 for scale in pre.scale):
            factors = [1 / scale for scale in pre.scale]
            x = _per_channel(b, "Mul", x, factors, channel, len(shape))
        if transposes:
            x = b.op("Transpose", x, perm=to_model)
    value.shape = ir.Shape([shape[axis] for axis in to_frame])
    # Numbers that are no frames stay whole: float16 knows no integers above 2048.
    taken = ir.DataType.INT32 if plain and dtype == ir.DataType.INT64 else ir.DataType.FLOAT
    value.dtype = taken
    given = taken if _all_cast(consumers) else dtype
    if given != taken:
        x = b.op("Cast", x, to=int(given))
    if x is not value:
        x.shape = shape
        x.dtype = given
        for node, index in consumers:
            node.replace_input_with(index, x)
    _insert_first(graph, b.nodes)
    return True


def _per_channel(b: Builder, op: str, x: ir.Value, values: Any, channel: int, rank: int) -> ir.Value:
    shape = [1] * rank
    shape[channel] = -1
    return b.op(op, x, b.constant(np.asarray(values, np.float64).reshape(shape)))


def _all_cast(consumers: Sequence[tuple[ir.Node, int]]) -> bool:
    """Whether a model casts its input first of all, so that it may as well come as a float."""
    return all(node.op_type == "Cast" for node, _ in consumers)


def _fold(graph: ir.Graph, value: ir.Value, pre: Preprocessing, b: Builder) -> bool:
    """Fold scale and channel order into the only convolution that reads the input, if that is safe."""
    uses = list(value.uses())
    if len(uses) != 1 or value in graph.outputs:
        return False
    conv, index = uses[0]
    if conv.op_type != "Conv" or index != 0 or int_attribute(conv, "group", 1) != 1:
        return False
    weights = array_of(conv.inputs[1])
    if weights is None or weights.dtype != np.float32:
        return False
    new = _folded_weights(weights, pre)
    if _rounding_loss(new) > max(_MAX_ROUNDING_LOSS, 1.1 * _rounding_loss(weights)):
        return False
    conv.replace_input_with(1, b.constant(new))
    return True


def _folded_weights(weights: NDArray[Any], pre: Preprocessing) -> NDArray[np.float32]:
    """Weights (out, in, …) for frames in the camera's channel order, not yet scaled."""
    new = weights.astype(np.float64)
    if pre.scale:
        new = new / np.asarray(pre.scale).reshape(1, -1, *[1] * (weights.ndim - 2))
    if pre.reverses:
        new = new[:, ::-1]
    return np.ascontiguousarray(new, np.float32)


def _rounding_loss(weights: NDArray[Any]) -> float:
    """Relative RMS change of the weights when they are kept in float16."""
    norm = float(np.linalg.norm(weights))
    with np.errstate(over="ignore"):
        rounded = weights.astype(np.float16).astype(np.float32)
    return float(np.linalg.norm(rounded - weights)) / norm if norm else 0.0


def _insert_first(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    if not nodes:
        return
    if len(graph):
        graph.insert_before(graph[0], nodes)
    else:
        graph.extend(nodes)
