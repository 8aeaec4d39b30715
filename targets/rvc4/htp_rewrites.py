"""Rewrites around what the QNN tools refuse or compute wrongly.

Each was seen on QAIRT 2.51 (`onnxruntime-qnn` 2.7.0). In `tests/convert/test_rvc4_convert.py` those in
FAULTS have a test that fails without the rewrite, those in CARE one that the operator is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import (
    Builder,
    Rule,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    ints_attribute,
    static_shape,
    text_attribute,
)
from converter.graph.rules.activations import hard_sigmoid, selu
from converter.graph.rules.pooling import max_pool as dilated_max_pool

_SIXTH: Final = 1 / 6
GELU_OPSET: Final = 20


def hard_swish(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X · HardSigmoid(x) with alpha 1/6 and beta 1/2 is HardSwish(x).

    In float16 the HTP takes the pair for x · HardSwish(x).
    """
    for gate, x in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        made = gate.producer() if gate is not None else None
        if made is None or made.op_type != "HardSigmoid" or made.inputs[0] is not x:
            continue
        alpha, beta = float_attribute(made, "alpha", 0.2), float_attribute(made, "beta", 0.5)
        if math.isclose(alpha, _SIXTH, rel_tol=1e-3) and math.isclose(beta, 0.5, rel_tol=1e-6):
            return [b.op("HardSwish", x)]
    return None


def erf(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Erf x ≈ tanh(2/√π · (x + 11/123 x³)), at most 3.6e-4 off; the HTP has no error function."""
    x = node.inputs[0]
    cube = b.op("Mul", b.op("Mul", x, x), x)
    inner = b.op("Add", x, b.op("Mul", cube, b.constant(11 / 123)))
    return [b.op("Tanh", b.op("Mul", inner, b.constant(2 / math.sqrt(math.pi))))]


def gelu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """0.5 · x · (1 + erf(x / √2)), with the factors in any order, is Gelu(x)."""
    x = _gelu_of(node) if b.graph.opset_imports.get("", 0) >= GELU_OPSET else None
    return None if x is None else [b.op("Gelu", x)]


def has_gelu_pattern(model: ir.Model) -> bool:
    """Whether a graph writes a GELU out; the operator for it needs opset 20."""
    return any(node.op_type == "Mul" and _gelu_of(node) is not None for node in model.graph)


def _gelu_of(node: ir.Node) -> ir.Value | None:
    factors = _factors(node.inputs[0]) + _factors(node.inputs[1])
    if len(factors) != 3:
        return None
    halves = [value for value in factors if _is_close(value, 0.5)]
    gates = [value for value in factors if _erf_input(value) is not None]
    if len(halves) != 1 or len(gates) != 1:
        return None
    rest = next(value for value in factors if value not in (halves[0], gates[0]))
    return rest if _erf_input(gates[0]) is rest else None


def _factors(value: ir.Value | None) -> list[ir.Value]:
    """The factors of a product that is used once; any other value is its only factor."""
    made = value.producer() if value is not None else None
    if value is None:
        return []
    if made is None or made.op_type != "Mul" or len(list(value.uses())) != 1:
        return [value]
    return [factor for factor in made.inputs if factor is not None]


def _erf_input(value: ir.Value) -> ir.Value | None:
    """The x of 1 + erf(x / √2), None for anything else."""
    add = value.producer()
    if add is None or add.op_type != "Add" or not any(_is_close(item, 1.0) for item in add.inputs):
        return None
    for item in add.inputs:
        made = item.producer() if item is not None else None
        if made is None or made.op_type != "Erf" or made.inputs[0] is None:
            continue
        scaled = made.inputs[0].producer()
        if scaled is None:
            continue
        if scaled.op_type == "Div" and _is_close(scaled.inputs[1], math.sqrt(2)):
            return scaled.inputs[0]
        if scaled.op_type == "Mul":
            for one, other in (scaled.inputs, scaled.inputs[::-1]):
                if _is_close(one, math.sqrt(0.5)):
                    return other
    return None


def _is_close(value: ir.Value | None, number: float) -> bool:
    array = array_of(value)
    return array is not None and array.size == 1 and math.isclose(array.item(), number, rel_tol=1e-4)


def silu(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """X · sigmoid(x) as x · max(sigmoid(x), 0), which is the same.

    With 16-bit activations the HTP fuses a convolution, the sigmoid and the product into something
    else (relative RMSE up to 1 on the emulator); a node in between keeps it from that.
    """
    for gate, x in ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])):
        made = gate.producer() if gate is not None else None
        if made is not None and made.op_type == "Sigmoid" and made.inputs[0] is x:
            return [b.op("Mul", x, b.op("Max", gate, b.constant(0.0)))]
    return None


def _product(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    return hard_swish(node, b) or gelu(node, b)


def edge_pad(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Padding by the border's own values, as slices that are put beside: the HTP pads with others."""
    shape, pads = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if text_attribute(node, "mode", "constant") != "edge" or shape is None or pads is None:
        return None
    given = array_of(input_of(node, 3))
    axes = range(len(shape)) if given is None else [int(axis) % len(shape) for axis in given.ravel()]
    before, after = np.split(pads.astype(int).ravel(), 2)
    if (pads < 0).any():
        return None
    x = node.inputs[0]
    assert x is not None
    for axis, first, last in zip(axes, before, after, strict=True):
        if not (first or last):
            continue
        start = b.op("Slice", x, b.ints(0), b.ints(1), b.ints(axis))
        end = b.op("Slice", x, b.ints(shape[axis] - 1), b.ints(shape[axis]), b.ints(axis))
        x = b.op("Concat", *[start] * int(first), x, *[end] * int(last), axis=axis)
    return [x]


def split_of_five_axes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Slices instead of a Split of five axes: the HTP joins its parts without rescaling their codes."""
    shape, sizes = static_shape(node.inputs[0]), array_of(input_of(node, 1))
    if shape is None or len(shape) < 5:
        return None
    axis = int_attribute(node, "axis", 0) % len(shape)
    if sizes is None:
        size = -(-shape[axis] // len(node.outputs))
        ends = np.minimum(np.arange(1, len(node.outputs) + 1) * size, shape[axis])
    else:
        ends = np.cumsum(sizes.astype(int))
    starts = [0, *ends[:-1]]
    return [
        b.op("Slice", node.inputs[0], b.ints(start), b.ints(end), b.ints(axis))
        for start, end in zip(starts, ends, strict=True)
    ]


def batch_normalization(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """(x - mean) / √(variance + ε) · scale + bias as a depthwise convolution, or as Mul and Add.

    By itself it is far off on the emulator with integers (relative RMSE up to 0.9).
    """
    shape = static_shape(node.inputs[0])
    arrays = [array_of(input_of(node, index)) for index in range(1, 5)]
    if shape is None or len(shape) < 2 or len(node.outputs) > 1:
        return None
    if any(array is None for array in arrays):
        return None
    scale, bias, mean, variance = (np.asarray(array, np.float64) for array in arrays)
    factor = scale / np.sqrt(variance + float_attribute(node, "epsilon", 1e-5))
    shift, spatial = bias - mean * factor, [1] * (len(shape) - 2)
    if len(shape) in (3, 4):
        kernel = b.constant(factor.reshape(-1, 1, *spatial))
        return [b.op("Conv", node.inputs[0], kernel, b.constant(shift), group=shape[1])]
    scaled = b.op("Mul", node.inputs[0], b.constant(factor.reshape(-1, *spatial)))
    return [b.op("Add", scaled, b.constant(shift.reshape(-1, *spatial)))]


def max_pool_of_volumes(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Pooling of volumes as that of planes and then of lines, which the HTP has."""
    shape, made = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    kernel = ints_attribute(node, "kernel_shape") or ()
    plain = text_attribute(node, "auto_pad", "NOTSET") == "NOTSET" and len(node.outputs) == 1
    dilated = set(ints_attribute(node, "dilations") or (1,)) != {1}
    if len(kernel) != 3 or shape is None or made is None or not plain or dilated:
        return None
    strides = ints_attribute(node, "strides") or (1, 1, 1)
    pads = ints_attribute(node, "pads") or (0,) * 6
    ceil = int_attribute(node, "ceil_mode", 0)
    planes = b.op("Reshape", node.inputs[0], b.ints(shape[0], shape[1] * shape[2], *shape[3:]))
    planes = b.op(
        "MaxPool", planes, kernel_shape=kernel[1:], strides=strides[1:],
        pads=[*pads[1:3], *pads[4:6]], ceil_mode=ceil,
    )  # fmt: skip
    lines = b.op("Reshape", planes, b.ints(*shape[:3], made[3] * made[4]))
    lines = b.op(
        "MaxPool", lines, kernel_shape=[kernel[0], 1], strides=[strides[0], 1],
        pads=[pads[0], 0, pads[3], 0], ceil_mode=ceil,
    )  # fmt: skip
    return [b.op("Reshape", lines, b.ints(*made))]


def computed_gemm(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Gemm of two computed matrices as MatMul and Add: QNN's own way adds a bias in 32 bits."""
    if array_of(node.inputs[1]) is not None:
        return None
    x, w = (
        b.op("Transpose", value, perm=[1, 0]) if int_attribute(node, name, 0) else value
        for value, name in zip(node.inputs[:2], ("transA", "transB"), strict=True)
    )
    y = b.op("MatMul", x, w)
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    if alpha != 1:
        y = b.op("Mul", y, b.constant(alpha))
    bias = input_of(node, 2)
    if bias is None or beta == 0:
        return [y]
    return [b.op("Add", y, bias if beta == 1 else b.op("Mul", bias, b.constant(beta)))]


def sum_of_several(node: ir.Node, b: Builder) -> Sequence[ir.Value]:
    """Sum as a chain of Adds: QNN computes a quantized Sum in floating point."""
    total = node.inputs[0]
    for value in node.inputs[1:]:
        total = b.op("Add", total, value)
    assert total is not None
    return [total]


def gating_hard_sigmoid(node: ir.Node, b: Builder) -> Sequence[ir.Value] | None:
    """Max(0, min(1, alpha · x + beta)) where it is multiplied by its input and is no HardSwish."""
    x = node.inputs[0]
    users = [user for user, _ in node.outputs[0].uses()]
    if any(user.op_type == "Mul" and x in user.inputs for user in users):
        return hard_sigmoid(node, b)
    return None


# They are applied in this order: the second handles patterns that the first leaves.
RULES: Final[Sequence[Mapping[str, Rule]]] = (
    {
        "BatchNormalization": batch_normalization,
        "Gemm": computed_gemm,
        "MaxPool": max_pool_of_volumes,
        "Mul": _product,
        "Pad": edge_pad,
        "Selu": selu,
        "Split": split_of_five_axes,
        "Sum": sum_of_several,
    },
    {"Erf": erf, "HardSigmoid": gating_hard_sigmoid},
)
# With integers the border of lowest numbers would take up the whole range.
FLOAT_RULES: Final[Sequence[Mapping[str, Rule]]] = (*RULES, {"MaxPool": dilated_max_pool})
WIDE_RULES: Final[Sequence[Mapping[str, Rule]]] = (*RULES, {"Mul": silu})


class UnshareWeights(ir.passes.InPlacePass):
    """Give every node separate weights: the quantizer treats a shared one as a standalone node."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Copy initializers of floats that several nodes read; the content stays one in memory."""
        graph, modified = model.graph, False
        for value in list(graph.initializers.values()):
            if value.dtype != ir.DataType.FLOAT or value.const_value is None:
                continue
            for index, (node, place) in enumerate(list(value.uses())[1:], 1):
                copy = ir.Value(
                    name=f"{value.name}/use.{index}",
                    shape=value.shape,
                    type=value.type,
                    const_value=value.const_value,
                )
                graph.register_initializer(copy)
                node.replace_input_with(place, copy)
                modified = True
        return ir.passes.PassResult(model, modified)
