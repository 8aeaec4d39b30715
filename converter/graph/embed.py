"""Embedding a model's preprocessing into its graph, so that it takes a camera's frames.

Two forms that compute the same: nodes in front of the model, or, where scale and channel order can be
folded into the weights of the first convolution without losing precision, only the mean in front.
Folding the mean into a convolution that pads would be wrong at the borders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import (
    Builder,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    text_attribute,
)
from converter.preprocessing import Preprocessing

_WHOLE = (ir.DataType.INT8, ir.DataType.INT16, ir.DataType.UINT16, ir.DataType.INT64)
_TAKEN_AS_THEY_ARE: Final = (ir.DataType.FLOAT, ir.DataType.UINT8, ir.DataType.INT32)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How frames enter the graph at one input.

    Attributes:
        layout: The axes of the frame that the new graph takes.
        model_layout: The axes of the model's input; a permutation of `layout`.
        preprocessing: What to embed; None leaves colour, mean and scale to the host.
    """

    layout: str
    model_layout: str
    preprocessing: Preprocessing | None


def entries(inputs: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Entries by input name, from `TargetInput.to_entry`'s plain data."""
    return {
        item["name"]: Entry(
            layout=item["layout"],
            model_layout=item["model_layout"],
            preprocessing=Preprocessing.from_json(item["preprocessing"])
            if item["preprocessing"]
            else None,
        )
        for item in inputs
    }


@dataclass(frozen=True, kw_only=True)
class Folding:
    """When scale and channel order may go into the weights of the first convolution.

    Attributes:
        loss: From float32 weights (out, in, …) to their relative RMS change in the compiler's number
            format.
        limit: Up to this loss folding is allowed; beyond, if the loss is hardly more than before.
        mean: Whether the mean may go into the bias of a convolution that does not pad.
        pointwise: Whether what cannot be folded becomes a 1×1 convolution where channels are
            reversed: a quantizer rounds its result once, and not after each of three nodes.
        keeps: Weights, by name, that stay as they are.
    """

    loss: Callable[[NDArray[np.float32]], float]
    limit: float
    mean: bool = False
    pointwise: bool = False
    keeps: frozenset[str] = frozenset()

    def allows(self, old: NDArray[np.float32], new: NDArray[np.float32]) -> bool:
        """Whether the new weights (float32, out, in, …) lose as little precision as the old ones."""
        return self.loss(new) <= max(self.limit, 1.1 * self.loss(old))


def float16_loss(weights: NDArray[np.float32]) -> float:
    """Relative RMS change of weights (float32, any shape) when they are stored in float16."""
    with np.errstate(over="ignore"):
        return _relative(weights.astype(np.float16).astype(np.float32), weights)


def fixed_point_loss(weights: NDArray[np.float32], bits: int, *, per_channel: bool) -> float:
    """Relative RMS change of weights (float32, out, …) when they are stored as symmetric integers."""
    rows = weights.reshape(len(weights), -1)
    largest = np.abs(rows).max(axis=1 if per_channel else None, keepdims=True)
    scale = np.maximum(largest, np.finfo(np.float32).tiny) / (2 ** (bits - 1) - 1)
    return _relative(np.round(rows / scale) * scale, rows)


def _relative(changed: NDArray[Any], weights: NDArray[Any]) -> float:
    norm = float(np.linalg.norm(weights))
    return float(np.linalg.norm(changed - weights)) / norm if norm else 0.0


# Rounding a weight to float16 moves it by 2.8e-4 of its size on average (RMS). When scaling makes
# weights so small that rounding costs much more, they have left float16's normal range.
FLOAT16: Final = Folding(loss=float16_loss, limit=5e-4)


class EmbedPreprocessing(ir.passes.InPlacePass):
    """Let each of the given inputs take frames; its name stays, its type becomes float32.

    Promises the shape that the frame has in `Entry.layout`.
    """

    def __init__(self, entries: Mapping[str, Entry], folding: Folding = FLOAT16) -> None:
        super().__init__()
        self._entries = entries
        self._folding = folding

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
                modified |= _embed(model.graph, value, entry, self._folding)
        return ir.passes.PassResult(model, modified)


def _embed(graph: ir.Graph, value: ir.Value, entry: Entry, folding: Folding) -> bool:
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
    # The order is changed while channels are in front of rows and columns: there compilers are faster.
    planar_model = transposes and _channel(entry.model_layout) < _channel(entry.layout)
    channel = _channel(entry.model_layout if planar_model else entry.layout)
    folded = _fold(graph, value, _channel(entry.model_layout), pre, b, folding)
    x = value
    if planar_model:
        x = b.op("Transpose", x, perm=to_model)
    operations = _operations(pre, folded)
    if folding.pointwise and len(shape) == 4 and any(op == "Gather" for op, _ in operations):
        x = _pointwise(b, x, pre, channel)
        operations = []
    for op, values in operations:
        if op == "Gather":
            x = b.op("Gather", x, b.constant(values, np.int64), axis=channel)
        else:
            x = _per_channel(b, op, x, values, channel, len(shape))
    if transposes and not planar_model:
        x = b.op("Transpose", x, perm=to_model)
    value.shape = ir.Shape([shape[axis] for axis in to_frame])
    # Numbers that are no frames stay integers: float16 is not exact above 2048.
    taken = ir.DataType.INT32 if plain and dtype in _WHOLE else ir.DataType.FLOAT
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


def _channel(layout: str) -> int:
    return layout.index("C") if "C" in layout else len(layout) - 1


def _operations(pre: Preprocessing, folded: str) -> list[tuple[str, Any]]:
    """The nodes that are still needed in front of the model, each with its values."""
    if folded == "all":
        return []
    if folded:
        # The weights now take BGR, so the mean is put in that order too.
        mean = pre.mean[::-1] if pre.reverses else pre.mean
        return [("Sub", mean)] if any(mean) else []
    operations: list[tuple[str, Any]] = [("Gather", [2, 1, 0])] if pre.reverses else []
    if any(pre.mean):
        operations.append(("Sub", pre.mean))
    if any(scale != 1 for scale in pre.scale):
        operations.append(("Mul", [1 / scale for scale in pre.scale]))
    return operations


def _pointwise(b: Builder, x: ir.Value, pre: Preprocessing, channel: int) -> ir.Value:
    """All of a preprocessing as one 1×1 convolution over `channel`."""
    count = len(pre.mean) or len(pre.scale) or 3
    factors = 1 / np.asarray(pre.scale or [1.0] * count)
    weights = (np.diag(factors)[:, ::-1] if pre.reverses else np.diag(factors)).reshape(
        count, count, 1, 1
    )
    bias = -np.asarray(pre.mean or [0.0] * count) * factors
    planar = [0, channel, *[axis for axis in (1, 2, 3) if axis != channel]]
    if channel != 1:
        x = b.op("Transpose", x, perm=planar)
    x = b.op("Conv", x, b.constant(weights), b.constant(bias))
    if channel != 1:
        x = b.op("Transpose", x, perm=[planar.index(axis) for axis in range(4)])
    return x


def _per_channel(b: Builder, op: str, x: ir.Value, values: Any, channel: int, rank: int) -> ir.Value:
    shape = [1] * rank
    shape[channel] = -1
    return b.op(op, x, b.constant(np.asarray(values, np.float64).reshape(shape)))


def _all_cast(consumers: Sequence[tuple[ir.Node, int]]) -> bool:
    """Whether every reader of an input casts it, so that it may also be a float."""
    return all(node.op_type == "Cast" for node, _ in consumers)


def _fold(
    graph: ir.Graph,
    value: ir.Value,
    axis: int,
    pre: Preprocessing,
    b: Builder,
    folding: Folding,
) -> Literal["", "scale", "all"]:
    """Fold what can be folded into the only convolution that reads the input, channels in `axis`.

    Returns:
        Empty if nothing was folded, `scale` for scale and channel order, `all` for the mean as well.
    """
    conv = _only_convolution(graph, value, axis)
    if conv is None:
        return ""
    weights = array_of(conv.inputs[1])
    known = conv.inputs[1]
    if weights is None or weights.dtype != np.float32 or known is None or known.name in folding.keeps:
        return ""
    new = _folded_weights(weights, pre)
    if not folding.allows(weights, new):
        return ""
    bias = array_of(input_of(conv, 2))
    bias_is_known = bias is not None or input_of(conv, 2) is None
    conv.replace_input_with(1, b.constant(new))
    if not (folding.mean and any(pre.mean) and bias_is_known and _pads_nothing(conv)):
        return "scale"
    mean = np.asarray(pre.mean[::-1] if pre.reverses else pre.mean, np.float64)
    shift = new.sum(axis=tuple(range(2, new.ndim)), dtype=np.float64) @ mean
    moved = b.constant((0 if bias is None else bias.astype(np.float64)) - shift)
    conv.resize_inputs(3)
    conv.replace_input_with(2, moved)
    return "all"


def _only_convolution(graph: ir.Graph, value: ir.Value, axis: int) -> ir.Node | None:
    """The convolution that alone reads the input, transposed or not, over the channels in `axis`."""
    while True:
        uses = list(value.uses())
        if len(uses) != 1 or value in graph.outputs:
            return None
        node, index = uses[0]
        if node.op_type != "Transpose":
            break
        perm = ints_attribute(node, "perm")
        if perm is None:
            return None
        axis, value = perm.index(axis), node.outputs[0]
    # A convolution's channels are its second axis, whatever the layout says.
    is_it = node.op_type == "Conv" and index == 0 and axis == 1
    return node if is_it and int_attribute(node, "group", 1) == 1 else None


def _pads_nothing(conv: ir.Node) -> bool:
    mode = text_attribute(conv, "auto_pad", "NOTSET")
    return mode == "VALID" or (mode == "NOTSET" and not any(ints_attribute(conv, "pads") or ()))


def _folded_weights(weights: NDArray[Any], pre: Preprocessing) -> NDArray[np.float32]:
    """Weights (out, in, …) for frames in the camera's channel order, not yet scaled."""
    new = weights.astype(np.float64)
    if pre.scale:
        new = new / np.asarray(pre.scale).reshape(1, -1, *[1] * (weights.ndim - 2))
    if pre.reverses:
        new = new[:, ::-1]
    return np.ascontiguousarray(new, np.float32)


def _insert_first(graph: ir.Graph, nodes: list[ir.Node]) -> None:
    if not nodes:
        return
    if len(graph):
        graph.insert_before(graph[0], nodes)
    else:
        graph.extend(nodes)
