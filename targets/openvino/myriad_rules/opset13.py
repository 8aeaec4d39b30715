"""Operators of newer opsets written in opset 13, which OpenVINO 2022.2 reads correctly.

An older reader that does not know a newer attribute or input gives no error, but computes something
else: axes given as an input to ReduceMean (opset 18) are read as "all axes".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rewrite,
    Rule,
    array_of,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)

# Attributes that newer opsets added, with the value that means what opset 13 does.
TARGET_OPSET: Final = 13
_NEW_ATTRIBUTES: Final[Mapping[str, Mapping[str, Any]]] = {
    "ArgMax": {"select_last_index": 0},
    "ArgMin": {"select_last_index": 0},
    "AveragePool": {"dilations": None},
    "BatchNormalization": {"training_mode": 0},
    "Cast": {"saturate": 1, "round_mode": "up"},
    "LSTM": {"layout": 0},
    "Reshape": {"allowzero": 0},
    # Absent in opset 13, where it means this one.
    "RoiAlign": {"coordinate_transformation_mode": "output_half_pixel"},
    "ScatterElements": {"reduction": "none"},
    "ScatterND": {"reduction": "none"},
}


class LowerOpset(Rewrite):
    """Write the graph in opset 13. A graph of an older opset keeps its opset."""

    def __init__(self) -> None:
        super().__init__(RULES)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place and label the graph."""
        version = model.graph.opset_imports.get("", 0)
        if version <= TARGET_OPSET:
            return ir.passes.PassResult(model, False)
        for node in model.graph:
            _drop_new_defaults(node)
        super().call(model)
        model.graph.opset_imports[""] = TARGET_OPSET
        for node in model.graph:
            node.version = None
        return ir.passes.PassResult(model, True)


def _drop_new_defaults(node: ir.Node) -> None:
    for name, default in _NEW_ATTRIBUTES.get(node.op_type, {}).items():
        attribute = node.attributes.get(name)
        if attribute is None:
            continue
        trivial = all(d == 1 for d in attribute.value) if default is None else False
        if trivial or attribute.value == default or _copies_no_zero(node, name):
            node.attributes.pop(name)


def _copies_no_zero(node: ir.Node, name: str) -> bool:
    """Whether `allowzero` makes no difference: it is about zeros in the shape, and there are none."""
    shape = array_of(input_of(node, 1))
    return name == "allowzero" and shape is not None and bool((shape != 0).all())


def _copy(
    node: ir.Node, b: Builder, inputs: Sequence[ir.Value | None], **changed: Any
) -> list[ir.Value]:
    """The same node with other inputs; attributes given as None are left out."""
    attributes = {name: attribute.value for name, attribute in node.attributes.items()}
    attributes |= changed
    kept = {name: value for name, value in attributes.items() if value is not None}
    return list(b.ops(node.op_type, len(node.outputs), *inputs, **kept))


def reduce(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Axes as an attribute (before opset 18) instead of an input."""
    axes = input_of(node, 1)
    if axes is None:
        if "noop_with_empty_axes" not in node.attributes:
            return None
        if int_attribute(node, "noop_with_empty_axes", 0):
            return [b.op("Identity", node.inputs[0])]
        return _copy(node, b, node.inputs[:1], noop_with_empty_axes=None)
    values = array_of(axes)
    if values is None:
        return None
    if values.size == 0 and int_attribute(node, "noop_with_empty_axes", 0):
        return [b.op("Identity", node.inputs[0])]
    over = [int(axis) for axis in values.ravel()] or None
    return _copy(node, b, node.inputs[:1], axes=over, noop_with_empty_axes=None)


def split(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Sizes as an input (opset 13) instead of `num_outputs` (opset 18)."""
    count = int_attribute(node, "num_outputs", 0)
    shape = static_shape(node.inputs[0])
    if not count or shape is None:
        return None
    axis = int_attribute(node, "axis", 0)
    size = -(-shape[axis] // count)
    sizes = [size] * (count - 1) + [shape[axis] - size * (count - 1)]
    return _copy(node, b, [node.inputs[0], b.ints(*sizes)], num_outputs=None)


def pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Pads for every axis (opset 13) instead of for some `axes`; a value where it was left out."""
    shape, pads = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    axes = array_of(input_of(node, 3))
    value = input_of(node, 2)
    constant = text_attribute(node, "mode", "constant") == "constant"
    if pads is None or shape is None:
        return None
    if axes is None and (value is not None or not constant) and len(node.inputs) < 4:
        return None
    full = pads.astype(np.int64)
    if axes is not None:
        full = np.zeros(2 * len(shape), np.int64)
        for index, axis in enumerate(axes.ravel()):
            full[axis % len(shape)] = pads[index]
            full[axis % len(shape) + len(shape)] = pads[index + axes.size]
    if constant and value is None:
        value = b.constant(0.0, _numpy_type(node.inputs[0]))
    return _copy(node, b, [node.inputs[0], b.constant(full, np.int64), value])


def _numpy_type(value: ir.Value | None) -> Any:
    return np.float32 if value is None or value.dtype is None else value.dtype.numpy()


def resize(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Sizes or scales for every axis; newer attributes dropped where they change nothing."""
    new = ("antialias", "axes", "keep_aspect_ratio_policy")
    if not any(name in node.attributes for name in new):
        return None
    shape, axes = static_shape(node.inputs[0]), ints_attribute(node, "axes")
    policy = text_attribute(node, "keep_aspect_ratio_policy", "stretch")
    if policy != "stretch" or (int_attribute(node, "antialias", 0) and _shrinks(node)):
        return None
    inputs: list[ir.Value | None] = [input_of(node, index) for index in range(4)]
    if axes is not None:
        if shape is None:
            return None
        for index, neutral in ((2, np.ones(len(shape), np.float32)), (3, np.array(shape))):
            given = array_of(inputs[index])
            if given is not None and given.size:
                full = neutral.astype(given.dtype)
                full[[axis % len(shape) for axis in axes]] = given
                inputs[index] = b.constant(full, given.dtype)
    while inputs and inputs[-1] is None:
        inputs.pop()
    return _copy(node, b, inputs, antialias=None, axes=None, keep_aspect_ratio_policy=None)


def _shrinks(node: ir.Node) -> bool:
    """Whether a Resize makes anything smaller; only then does antialiasing change the result."""
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if before is None or after is None:
        return True
    return any(b > a for b, a in zip(before, after, strict=True))


RULES: Final[Mapping[str, Rule]] = {
    **{
        f"Reduce{kind}": reduce
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
    },
    "Pad": pad,
    "Resize": resize,
    "Split": split,
}
