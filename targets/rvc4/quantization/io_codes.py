"""A network's inputs and outputs as integer tensors, under their original names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

# A pixel's value as a 16-bit code: all 16 bits in use, as the HTP wants them, and every value exact.
# (With scale 1 the emulator's 16-bit convolutions were wrong.)
WIDE_SCALE: Final = 255 / 65535


def expose(model: ir.Model, images: Sequence[str], activations: int) -> dict[str, Any]:
    """Make the integer tensors the graph's inputs and outputs; names and order stay.

    Returns:
        Scale and zero point of each integer output.
    """
    import onnx_ir as ir

    graph = model.graph
    for value in list(graph.inputs):
        if value.name in images:
            _take_codes(graph, value, activations)
    codes = {}
    for index, value in enumerate(list(graph.outputs)):
        node = value.producer()
        if node is None or node.op_type != "DequantizeLinear":
            continue
        integer, scale, zero = node.inputs
        assert integer is not None
        name = value.name
        value.name = f"{name}/dequantized"
        integer.name = name
        graph.outputs[index] = integer
        if not value.uses():
            graph.remove(node, safe=True)
        codes[str(name)] = {
            "scale": float(_constant(scale)),
            "zero_point": int(_constant(zero)),
        }
    for value in graph.outputs:
        if value.producer() is not None and value.name in codes:
            zero_type = np.uint8 if activations == 8 else np.uint16
            value.dtype = value.dtype or ir.DataType.from_numpy(np.dtype(zero_type))
    graph.sort()
    return codes


def take_half(graph: ir.Graph, names: Sequence[str]) -> None:
    """Let inputs that a host has normalized take float16, the type of a camera's float frames."""
    import onnx_ir as ir

    from converter.graph.rewrite import Builder

    for value in graph.inputs:
        if value.name not in names:
            continue
        users = list(value.uses())
        b = Builder(graph, f"{value.name}/float32")
        x = b.op("Cast", value, to=int(ir.DataType.FLOAT))
        x.dtype, x.shape = ir.DataType.FLOAT, value.shape
        value.dtype = ir.DataType.FLOAT16
        for node, index in users:
            node.replace_input_with(index, x)
        graph.insert_before(graph[0], b.nodes)


def _constant(value: ir.Value | None) -> Any:
    from converter.graph.rewrite import array_of

    array = array_of(value)
    assert array is not None
    return array.item()


def _take_codes(graph: ir.Graph, value: ir.Value, activations: int) -> None:
    """Let an input of frames take uint8; a code is the pixel's value.

    With 16-bit activations the frame is converted first: 8-bit codes to 16-bit ones.
    """
    import onnx_ir as ir

    from converter.graph.rewrite import Builder

    users = list(value.uses())
    value.dtype = ir.DataType.UINT8
    codes, nodes = value, []
    if activations == 16:
        b = Builder(graph, f"{value.name}/codes")
        b.domain = "com.microsoft"
        pixels = b.op("DequantizeLinear", value, b.constant(1.0), b.constant(0, np.uint8))
        codes = b.op("QuantizeLinear", pixels, b.constant(WIDE_SCALE), b.constant(0, np.uint16))
        nodes = b.nodes
    for node, _ in users:
        # The quantizer was told to quantize every input, so nothing else reads one.
        assert node.op_type == "QuantizeLinear", node.op_type
        ir.convenience.replace_all_uses_with(node.outputs[0], codes)
        graph.remove(node, safe=True)
    graph.insert_before(graph[0], nodes)


def decoded(values: NDArray[Any], codes: Mapping[str, Any] | None) -> NDArray[Any]:
    """The real numbers of integer codes: `scale * (code - zero_point)`.

    Args:
        values: An output of any shape: integer codes, or numbers of any type.
        codes: `scale` and `zero_point` of integer codes; None for other values.

    Returns:
        float64 of the same shape; without `codes` the values unchanged.
    """
    if codes is None:
        return values
    numbers: NDArray[Any] = (values.astype(np.float64) - codes["zero_point"]) * codes["scale"]
    return numbers
