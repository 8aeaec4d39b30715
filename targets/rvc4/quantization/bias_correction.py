"""Bias correction: what the rounding of weights adds to a channel's mean is taken out of its bias.

Rounding changes the weights W of a layer to Wq. On average over frames and positions the layer then
gives op(x, Wq - W) more in each output channel, and `b - mean(op(x, Wq - W))` takes it away (Nagel et
al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2,
with means that are measured). The layer itself computes the mean here, so that padding, strides, groups
and factors are in it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from converter.graph.rewrite import (
    Builder,
    array_of,
    float_attribute,
    input_of,
    int_attribute,
    replace,
    static_shape,
)
from converter.graph.rules.forms import reduced
from targets.rvc4.quantization.trial import as_floats, error_of, run_float, run_integer, save

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shifts = Mapping[str, Sequence[float]]
# Layers with a bias, which the quantizer gives 32 bits.
_LAYERS: Final = ("Conv", "ConvTranspose", "Gemm")
_DIGITS: Final = 3
# What the layers' second weights may take at a time.
_CHUNK_BYTES: Final = 512 << 20
# An error that falls by less is as well without a correction.
_FALLS: Final = 0.99
_INT32: Final = np.iinfo(np.int32)


def mean_shifts(
    model: str,
    network: ir.Model,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    kept: Collection[str] = (),
) -> dict[str, list[float]]:
    """What rounding adds to the mean of each output channel, in the output's unit, by layer.

    Args:
        model: The float model's file, with static shapes.
        network: The integer network that was made of it; nodes have the same names.
        feeds: Frames as the float model takes them, by input name.
        kept: Weights and biases whose layers stay as they are.

    Returns:
        By the node's name a number for each output channel, with three digits: the last bits of a mean
        depend on the processor. Layers without a shift are left out.
    """
    rounded = {str(node.name): node for node in network.graph if node.op_type in _LAYERS}
    shifts: dict[str, list[float]] = {}
    for names in _chunks(model, rounded, kept):
        session = _session(model, rounded, names)
        results = [session.run(None, feed) for feed in feeds]
        for name, *means in zip(names, *results, strict=True):
            mean = np.mean(np.asarray(means, np.float64), axis=0).ravel()
            shifts[name] = [float(f"{x:.{_DIGITS}g}") for x in mean]
    return {name: values for name, values in shifts.items() if any(values)}


def correct(network: ir.Model, shifts: Shifts) -> None:
    """Take the shifts out of the layers' biases, in place; a layer without a bias gets one.

    Args:
        network: Of DequantizeLinear and QuantizeLinear around every node.
    """
    graph = network.graph
    for node in list(graph):
        shift = shifts.get(str(node.name))
        if shift is None:
            continue
        b = Builder(graph, f"{node.name}/bias_correction")
        bias = _bias(node, np.asarray(shift), b)
        if bias is None:
            continue
        (value,) = b.again(node, *node.inputs[:2], bias)
        b.nodes[-1].name = node.name
        replace(graph, node, b, [value])
    # QNN takes no node whose result nothing reads.
    common.RemoveUnusedNodesPass()(network)


def correct_written(
    model: str,
    target: str,
    network: ir.Model,
    codes: Mapping[str, Any],
    feeds: Sequence[Mapping[str, Any]],
    kept: Collection[str],
) -> dict[str, Any] | None:
    """Correct the biases of a written network, and write it again if that helps on the frames.

    Returns:
        The build record's entry: the shifts that were taken out, and the error (relative RMSE over all
        outputs) without and with that; None where no weights are rounded.
    """
    shifts = mean_shifts(model, network, as_floats(model, feeds), kept)
    if not shifts:
        return None
    expected = run_float(model, feeds)
    without = error_of(expected, run_integer(network, codes, feeds, target))
    correct(network, shifts)
    with_it = error_of(expected, run_integer(network, codes, feeds, target))
    helps = with_it < _FALLS * without
    if helps:
        save(network, target)
    return {
        "kept": helps,
        "frames": len(feeds),
        "error": {"without": float(f"{without:.3g}"), "with": float(f"{with_it:.3g}")},
        "shifts": shifts if helps else {},
    }


def encoded(encodings: Mapping[str, Any] | None) -> set[str]:
    """Weights and biases whose encodings are given: their rounding is not the converter's."""
    kinds = ("activations", "weights", "unused")
    return set() if encodings is None else {name for kind in kinds for name in encodings[kind]}


def _chunks(model: str, rounded: Mapping[str, ir.Node], kept: Collection[str]) -> Iterator[list[str]]:
    """The names of the layers whose weights were rounded, in groups whose weights fit into memory."""
    names: list[str] = []
    room = _CHUNK_BYTES
    for node in ir.load(model).graph:
        weights, other = input_of(node, 1), rounded.get(str(node.name))
        shape = static_shape(weights)
        if (
            other is None
            or shape is None
            or array_of(weights) is None
            or any(value is not None and value.name in kept for value in node.inputs[1:])
            or dequantized(input_of(other, 1)) is None
        ):
            continue
        size = 4 * math.prod(shape)
        if names and size > room:
            yield names
            names, room = [], _CHUNK_BYTES
        names.append(str(node.name))
        room -= size
    if names:
        yield names


def _session(model: str, rounded: Mapping[str, ir.Node], names: Collection[str]) -> Any:
    """The float model with the means of `op(x, Wq - W)` as its only outputs, in the names' order."""
    from converter.sources.onnx_session import session_of

    made = ir.load(model)
    graph = made.graph
    del graph.outputs[:]
    for node in [node for node in graph if str(node.name) in names]:
        weights, integer = array_of(input_of(node, 1)), dequantized(rounded[str(node.name)].inputs[1])
        assert weights is not None
        assert integer is not None
        b = Builder(graph, f"{node.name}/shift")
        error = b.constant((integer - weights).astype(np.float32))
        (y,) = b.again(node, node.inputs[0], error)
        rank = weights.ndim
        mean = reduced(b, "ReduceMean", y, [axis for axis in range(rank) if axis != 1], keepdims=False)
        mean.type = ir.TensorType(ir.DataType.FLOAT)
        graph.extend(b.nodes)
        graph.outputs.append(mean)
    common.RemoveUnusedNodesPass()(made)
    path = f"{model}.shifts.onnx"
    ir.save(made, path, external_data=f"{Path(path).name}.data", size_threshold_bytes=4096)
    return session_of(path)


def dequantized(value: ir.Value | None) -> NDArray[np.float64] | None:
    """The real numbers of constant codes; None for anything else."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    codes, scale, zero = (array_of(input_of(node, place)) for place in range(3))
    if codes is None or scale is None:
        return None
    if scale.size > 1:
        axis = int_attribute(node, "axis", 1)
        shape = [-1 if place == axis else 1 for place in range(codes.ndim)]
        scale, zero = scale.reshape(shape), None if zero is None else zero.reshape(shape)
    shifted = codes.astype(np.float64) - (0 if zero is None else zero.astype(np.float64))
    real: NDArray[np.float64] = shifted * scale
    return real


def _bias(node: ir.Node, shift: NDArray[np.float64], b: Builder) -> ir.Value | None:
    """The layer's bias less the shift, as 32-bit codes; None where the layer's codes are not known."""
    old = input_of(node, 2)
    made = old.producer() if old is not None else None
    if old is None:
        scales = [_scale(node.inputs[0]), _scale(node.inputs[1])]
        if scales[0] is None or scales[1] is None:
            return None
        codes, scale = np.zeros(len(shift), np.int64), scales[0] * scales[1]
    else:
        known, scale_of = (array_of(input_of(made, place)) if made else None for place in range(2))
        if known is None or scale_of is None or known.dtype != np.int32:
            return None
        codes, scale = known.astype(np.int64), scale_of
        # A Gemm's bias is taken beta times.
        shift = shift / (float_attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0)
    scale = scale.astype(np.float32).ravel()
    moved = codes - np.rint(shift / scale.astype(np.float64)).astype(np.int64)
    weights = input_of(node, 1)
    made = made or (weights.producer() if weights is not None else None)
    b.domain = made.domain if made is not None else ""
    value = b.op(
        "DequantizeLinear",
        b.constant(np.clip(moved, _INT32.min, _INT32.max), np.int32),
        b.constant(scale if scale.size > 1 else scale[0]),
        b.constant(np.zeros(scale.size, np.int32) if scale.size > 1 else np.int32(0), np.int32),
        axis=0,
    )
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([len(shift)])
    b.domain = ""
    return value


def _scale(value: ir.Value | None) -> NDArray[Any] | None:
    """The scale of the codes that a value is decoded from."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear":
        return None
    return array_of(input_of(node, 1))
