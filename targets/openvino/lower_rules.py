"""The operators of OpenVINO's opsets 11 to 16, written with those of opsets 1 to 10.

Formulas: OpenVINO's operation specifications and, for operators from ONNX, those of ONNX. A rule takes
a node and returns the new outputs, or None if the node may stay; it raises `Inexpressible` for one that
it cannot express. The behaviour of 2022.3 was observed on 2022.3.2's CPU plugin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import ArrayLike, NDArray
from openvino import opset10 as ops

Rule = Callable[[ov.Node], list[ov.Output] | None]


class Inexpressible(Exception):  # noqa: N818 - what it is, not what went wrong
    """No operator of opset 10 or older does what this node does; `str` is a clause that says why."""


def interpolate(node: ov.Node) -> list[ov.Output]:
    """Version 4 wants the sizes and the scales, whichever of the two counts."""
    a, x = node.get_attributes(), node.input_value(0)
    if "pillow" in a["mode"]:
        raise Inexpressible(f" with the mode {a['mode']}")
    shape, new_shape = _shape(x), _shape(node.output(0))
    axes = _constant(node, 2) if node.get_input_size() > 2 else np.arange(len(shape))
    sizes = np.array([new_shape[axis] for axis in axes], np.int64)
    if a["shape_calculation_mode"] == "scales":
        scales = _constant(node, 1).astype(np.float32)
    else:
        padded = np.add(
            shape, np.add(_per_axis(a["pads_begin"], shape), _per_axis(a["pads_end"], shape))
        )
        scales = (sizes / padded[axes]).astype(np.float32)
    return _outputs(ops.interpolate(x, _i64(sizes), ops.constant(scales), axes=_i64(axes), **a))


def _per_axis(pads: Sequence[int], shape: Sequence[int]) -> list[int]:
    return [*pads, *[0] * (len(shape) - len(pads))]


def pad(node: ov.Node) -> list[ov.Output]:
    """Version 1 cannot cut, so that a slice does it after the padding."""
    begin, end = _constant(node, 1), _constant(node, 2)
    mode, y = node.get_attributes()["pad_mode"], node.input_value(0)
    if (begin > 0).any() or (end > 0).any():
        value = node.input_value(3) if node.get_input_size() > 3 else None
        y = ops.pad(y, _i64(begin.clip(0)), _i64(end.clip(0)), mode, value).output(0)
    if (begin < 0).any() or (end < 0).any() or y is node.input_value(0):
        first, last = (-begin).clip(0), end.clip(max=0)
        to_the_end = [int(cut == 0) for cut in last]
        steps = _i64(np.ones_like(first))
        y = ops.strided_slice(y, _i64(first), _i64(last), steps, [0] * len(first), to_the_end).output(0)
    return [y]


def top_k(node: ov.Node) -> list[ov.Output]:
    """Version 3 promises no order among equals; 2022.3 takes the first as well."""
    a = node.get_attributes()
    a.pop("stable", None)
    return _outputs(ops.topk(node.input_value(0), node.input_value(1), **a))


def one_hot(node: ov.Node) -> list[ov.Output]:
    """Version 1 ignores a negative index."""
    a = node.get_attributes()
    indices, *rest = node.input_values()
    if a["negative_indices_mode"] == "normalize":
        indices = _not_negative(indices, int(_constant(node, 1)))
    return _outputs(ops.one_hot(indices, *rest, a["axis"]))


def gather_elements(node: ov.Node) -> list[ov.Output] | None:
    """2022.3 reads outside of the tensor for an index that counts from the end."""
    data, indices = node.input_values()
    axis = node.get_attributes()["axis"]
    known = _known_not_negative(indices, _shape(data)[axis])
    return None if known is indices else _outputs(ops.gather_elements(data, known, axis))


def group_normalization(node: ov.Node) -> list[ov.Output]:
    """Each group as one row: normalize the rows, then scale and shift the channels."""
    a, (x, scale, bias) = node.get_attributes(), node.input_values()
    shape = _shape(x)
    rows = _reshape(x, [shape[0], a["num_groups"], -1])
    rows = ops.mvn(rows, _i64([2]), True, float(a["epsilon"]), "inside_sqrt").output(0)
    channels = [1, shape[1], *[1] * (len(shape) - 2)]
    scaled = ops.multiply(_reshape(rows, shape), _reshape(scale, channels))
    return _outputs(ops.add(scaled, _reshape(bias, channels)))


def attention(node: ov.Node) -> list[ov.Output]:
    """Softmax(scale · q kᵀ + mask) v."""
    query, key, value, *more = node.input_values()
    if len(more) > 2:
        raise Inexpressible(" with a sink")
    scale = more[1] if len(more) > 1 else _like(1 / math.sqrt(_shape(query)[-1]), query)
    scores = ops.multiply(ops.matmul(query, key, False, True), scale).output(0)
    if node.get_attributes()["causal"]:
        rows, columns = _shape(scores)[-2:]
        seen = np.tri(rows, columns, dtype=bool)
        scores = ops.add(scores, _like(np.where(seen, 0, -np.inf), query)).output(0)
    elif more and more[0].get_element_type() == ov.Type.boolean:
        scores = ops.select(more[0], scores, _like(-np.inf, query)).output(0)
    elif more and not _is_zero(more[0]):
        scores = ops.add(scores, more[0]).output(0)
    return _outputs(ops.matmul(ops.softmax(scores, -1), value, False, False))


def _is_zero(value: ov.Output) -> bool:
    made = value.get_node()
    return made.get_type_name() == "Constant" and not made.get_data().any()


def scatter_elements(node: ov.Node) -> list[ov.Output]:
    """Version 3 can only overwrite, and counts from the start alone."""
    a, (data, indices, updates, _) = node.get_attributes(), node.input_values()
    axis = int(_constant(node, 3)) % len(_shape(data))
    if a["reduction"] == "none":
        known = _known_not_negative(indices, _shape(data)[axis])
        return _outputs(ops.scatter_elements_update(data, known, updates, _i64(axis)))
    if not a["use_init_val"]:
        raise Inexpressible(" that ignores the initial values")
    return [_scatter_reduced(data, indices, updates, axis, a["reduction"])]


def scatter_nd(node: ov.Node) -> list[ov.Output]:
    """Version 3 can only overwrite; a reduction is one over the first axis of flattened data."""
    reduction, (data, indices, updates) = node.get_attributes()["reduction"], node.input_values()
    shape, depth = _shape(data), _shape(indices)[-1]
    if reduction == "none":
        known = _known_not_negative(indices, shape[:depth])
        return _outputs(ops.scatter_nd_update(data, known, updates))
    count = math.prod(shape[:depth])
    strides = [math.prod(shape[axis + 1 : depth]) for axis in range(depth)]
    wrapped = _not_negative(indices, shape[:depth])
    rows = ops.reduce_sum(ops.multiply(wrapped, _like(strides, indices)), _i64([-1]), False)
    flat = (
        _reshape(data, [count, -1]),
        _reshape(rows.output(0), [-1, 1]),
        _reshape(updates, [-1, math.prod(shape[depth:])]),
    )
    return [_reshape(_scatter_reduced(*flat, 0, reduction), shape)]


def _scatter_reduced(
    data: ov.Output, indices: ov.Output, updates: ov.Output, axis: int, reduction: str
) -> ov.Output:
    """Every update against every place of the axis, neutral where it does not belong; then reduced."""
    kind = data.get_element_type().to_dtype()
    lowest, highest = (
        (-np.inf, np.inf) if kind.kind == "f" else (np.iinfo(kind).min, np.iinfo(kind).max)
    )
    reductions: Mapping[str, tuple[Any, Callable[..., ov.Node], Callable[..., ov.Node]]] = {
        "sum": (0, ops.reduce_sum, ops.add),
        "prod": (1, ops.reduce_prod, ops.multiply),
        "max": (lowest, ops.reduce_max, ops.maximum),
        "min": (highest, ops.reduce_min, ops.minimum),
    }
    if reduction not in reductions:
        raise Inexpressible(f" with the reduction {reduction}")
    neutral, reduce, combine = reductions[reduction]
    shape = _shape(data)
    new_axis = _i64([axis + 1])
    places = _like(np.arange(shape[axis]).reshape([-1, *[1] * (len(shape) - axis - 1)]), indices)
    hits = ops.equal(ops.unsqueeze(_not_negative(indices, shape[axis]), new_axis), places)
    spread = ops.select(hits, ops.unsqueeze(updates, new_axis), _like(neutral, data))
    reduced = reduce(spread, _i64([axis]), False)
    missing = np.subtract(shape, _shape(reduced.output(0)))
    if missing.any():
        reduced = ops.pad(reduced, _i64(0 * missing), _i64(missing), "constant", _like(neutral, data))
    return combine(data, reduced).output(0)


def slice_scatter(node: ov.Node) -> list[ov.Output]:
    """The slice's places in the flat tensor are constants."""
    data, updates, *_ = node.input_values()
    shape = _shape(data)
    start, stop, step = (_constant(node, index).ravel() for index in (2, 3, 4))
    axes = _constant(node, 5).ravel() if node.get_input_size() > 5 else np.arange(len(start))
    cut = [slice(None)] * len(shape)
    for axis, *ends in zip(axes, start, stop, step, strict=True):
        cut[axis] = slice(*map(int, ends))
    places = np.arange(math.prod(shape)).reshape(shape)[tuple(cut)].ravel()
    flat = _reshape(data, [-1]), _i64(places), _reshape(updates, [-1]), _i64(0)
    return [_reshape(ops.scatter_elements_update(*flat).output(0), shape)]


def max_pool(node: ov.Node) -> list[ov.Output]:
    """The old rounding down, with as much padding as makes the new one's shape."""
    a = node.get_attributes()
    begin, end = _pads(node)
    pooled = ops.max_pool(
        node.input_value(0),
        a["strides"],
        a["dilations"],
        begin,
        end,
        a["kernel"],
        index_element_type=a["index_element_type"],
        axis=a["axis"],
    )
    return _outputs(pooled)


def avg_pool(node: ov.Node) -> list[ov.Output]:
    """The old rounding down; where a window hangs over the padding, that is a tensor's edge."""
    a, x = node.get_attributes(), node.input_value(0)
    begin, end = _pads(node)
    if any(dilation != 1 for dilation in a.get("dilations", [])):
        return [_dilated_avg_pool(node, begin, end)]
    exclude = a["exclude-pad"]
    counted = _counted_end(node, end)
    if not exclude and counted != end:
        x = ops.pad(x, _i64([0, 0, *begin]), _i64([0, 0, *counted]), "constant", _like(0, x)).output(0)
        end = np.subtract(end, counted).tolist()
        begin, exclude = [0] * len(begin), True
    return _outputs(ops.avg_pool(x, a["strides"], begin, end, a["kernel"], exclude))


def _dilated_avg_pool(node: ov.Node, begin: list[int], end: list[int]) -> ov.Output:
    """A convolution that sums each window, over the number of its places that count."""
    a, x = node.get_attributes(), node.input_value(0)
    _, channels, *size = _shape(x)
    kernel = _like(np.ones([channels, 1, 1, *a["kernel"]]), x)
    summed = ops.group_convolution(x, kernel, a["strides"], begin, end, a["dilations"])
    low, high = begin, _counted_end(node, end)
    if a["exclude-pad"]:
        low = high = [0] * len(size)
    count = np.ones([1, 1])
    for axis, new_size in enumerate(_shape(node.output(0))[2:]):
        first = np.arange(new_size)[:, None] * a["strides"][axis] - begin[axis]
        places = first + np.arange(a["kernel"][axis]) * a["dilations"][axis]
        inside = (places >= -low[axis]) & (places < size[axis] + high[axis])
        count = count[..., None] * inside.sum(axis=1)
    return ops.divide(summed, _like(count, x)).output(0)


def _counted_end(node: ov.Node, end: list[int]) -> list[int]:
    """How much padding behind the input belongs to the mean; rounding up adds some that does not."""
    a = node.get_attributes()
    declared = end if a["auto_pad"].startswith("same") else a["pads_end"]
    return [min(pair) for pair in zip(end, declared, strict=True)]


def _pads(node: ov.Node) -> tuple[list[int], list[int]]:
    """The padding that the windows of a pooling touch, as explicit numbers."""
    a = node.get_attributes()
    dilations = a.get("dilations") or [1] * len(a["kernel"])
    window = (np.array(a["kernel"]) - 1) * dilations + 1
    size, new_size = _shape(node.input_value(0))[2:], _shape(node.output(0))[2:]
    total = (np.array(new_size) - 1) * a["strides"] + window - size
    begin = np.array(a["pads_begin"])
    if a["auto_pad"].startswith("same"):
        begin = (total.clip(0) + (a["auto_pad"] == "same_lower")) // 2
    return begin.tolist(), (total - begin).clip(0).tolist()


def squeeze(node: ov.Node) -> list[ov.Output]:
    """A reshape, whichever axes are skipped."""
    return [_reshape(node.input_value(0), _shape(node.output(0)))]


def identity(node: ov.Node) -> list[ov.Output]:
    """No operation; but an output keeps a separate node, and so a name."""
    x = node.input_value(0)
    ends = [
        reader.get_node().get_type_name() == "Result" for reader in node.output(0).get_target_inputs()
    ]
    return [copy_of(x) if any(ends) else x]


def copy_of(x: ov.Output) -> ov.Output:
    """The same tensor from a separate node; the older opsets have no `Identity`."""
    return ops.convert(x, x.get_element_type()).output(0)


def bitwise(logical: Callable[..., ov.Node]) -> Rule:
    """On booleans it is the logical operator; no older one works on the bits of a number."""

    def rule(node: ov.Node) -> list[ov.Output]:
        if node.get_element_type() != ov.Type.boolean:
            raise Inexpressible(" on integers")
        return _outputs(logical(*node.input_values()))

    return rule


def bitwise_not(node: ov.Node) -> list[ov.Output]:
    """In two's complement, −1 − x."""
    x, kind = node.input_value(0), node.get_element_type()
    if kind == ov.Type.boolean:
        return _outputs(ops.logical_not(x))
    ones = -1 if kind.is_signed() else np.iinfo(kind.to_dtype()).max
    return _outputs(ops.subtract(_like(ones, x), x))


def _outputs(node: ov.Node) -> list[ov.Output]:
    return list(node.outputs())


def _shape(value: ov.Output) -> list[int]:
    shape = value.get_partial_shape()
    if shape.is_dynamic:
        raise Inexpressible(" of a dynamic shape")
    return [int(size) for size in shape.to_shape()]


def _constant(node: ov.Node, index: int) -> NDArray[Any]:
    value = _value_of(node.input_value(index))
    if value is None:
        raise Inexpressible(f" whose input {index} is computed")
    return value


def _value_of(value: ov.Output) -> NDArray[Any] | None:
    """A constant tensor's values, in its shape; None if it depends on the model's inputs."""
    made = value.get_node()
    if made.get_type_name() == "Constant":
        return np.array(made.get_data())
    if made.get_type_name() == "ShapeOf" and made.input_value(0).get_partial_shape().is_static:
        return np.array(_shape(made.input_value(0)))
    given = [_value_of(source) for source in made.input_values()]
    if not given or any(array is None for array in given):
        return None
    kinds = [source.get_element_type() for source in made.input_values()]
    inputs = [
        ov.Tensor(np.asarray(array, kind.to_dtype())) for array, kind in zip(given, kinds, strict=True)
    ]
    outputs = [
        ov.Tensor(output.get_element_type(), ov.Shape(_shape(output))) for output in made.outputs()
    ]
    return np.array(outputs[value.get_index()].data) if made.evaluate(outputs, inputs) else None


def _i64(values: ArrayLike) -> ov.Node:
    return ops.constant(np.asarray(values, np.int64))


def _like(values: ArrayLike, other: ov.Output) -> ov.Node:
    """A constant of another tensor's element type."""
    return ops.constant(np.asarray(values), other.get_element_type())


def _reshape(x: ov.Output, shape: Sequence[int]) -> ov.Output:
    return ops.reshape(x, _i64(shape), False).output(0)


def _not_negative(indices: ov.Output, size: ArrayLike) -> ov.Output:
    """Indices that count from the end, changed to count from the start."""
    wrapped = ops.add(indices, _like(size, indices))
    return ops.select(ops.less(indices, _like(0, indices)), wrapped, indices).output(0)


def _known_not_negative(indices: ov.Output, size: ArrayLike) -> ov.Output:
    """The same for constant indices; computed ones are assumed to count from the start."""
    known = _value_of(indices)
    if known is None or (known >= 0).all():
        return indices
    return _like(np.where(known < 0, known + size, known), indices).output(0)


RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("AvgPool", "opset14"): avg_pool,
    ("AvgPool", "opset16"): avg_pool,
    ("BitwiseAnd", "opset13"): bitwise(ops.logical_and),
    ("BitwiseNot", "opset13"): bitwise_not,
    ("BitwiseOr", "opset13"): bitwise(ops.logical_or),
    ("BitwiseXor", "opset13"): bitwise(ops.logical_xor),
    ("GatherElements", "opset6"): gather_elements,
    ("GroupNormalization", "opset12"): group_normalization,
    ("Identity", "opset16"): identity,
    ("Interpolate", "opset11"): interpolate,
    ("MaxPool", "opset14"): max_pool,
    ("OneHot", "opset16"): one_hot,
    ("Pad", "opset12"): pad,
    ("ScaledDotProductAttention", "opset13"): attention,
    ("ScatterElementsUpdate", "opset12"): scatter_elements,
    ("ScatterNDUpdate", "opset15"): scatter_nd,
    ("SliceScatter", "opset15"): slice_scatter,
    ("Squeeze", "opset15"): squeeze,
    ("TopK", "opset11"): top_k,
}
