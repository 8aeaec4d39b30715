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


def expose(
    model: ir.Model,
    images: Sequence[str],
    activations: int,
    leaving: Mapping[str, str] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, Any]:
    """Make the integer tensors the graph's inputs and outputs; names and order stay.

    Args:
        activations: Bits of what reads the frames.
        leaving: The element type of outputs by name: `float32`, which is decoded in the model, `uint16`
            or `uint8`; that of the node that makes it for an output that is left out.
        ranges: Ranges of those outputs.

    Returns:
        Scale and zero point of each integer output.
    """
    graph = model.graph
    for value in list(graph.inputs):
        if value.name in images:
            _take_codes(graph, value, activations)
    codes = {}
    for index, value in enumerate(list(graph.outputs)):
        node, name = value.producer(), str(value.name)
        wanted = (leaving or {}).get(name, "")
        if node is None or node.op_type != "DequantizeLinear":
            continue
        integer, scale, zero = node.inputs
        assert integer is not None
        before = _before(integer)
        if wanted == "float32":
            if before is not None and _constant_type(before[2]) == np.uint16:
                _decode(graph, index, before)
            continue
        if wanted and str(_constant_type(zero)) != wanted:
            is_there = before is not None and str(_constant_type(before[2])) == wanted
            integer, scale, zero = (
                before if is_there and before else _narrowed(graph, value, (ranges or {})[name])
            )
        if _before(integer) is not None:
            integer = _behind_a_node(graph, integer, scale, zero)
        value.name = f"{name}/dequantized"
        integer.name = name
        graph.outputs[index] = integer
        if not value.uses():
            graph.remove(node, safe=True)
        codes[name] = {"scale": float(_constant(scale)), "zero_point": int(_constant(zero))}
        integer.dtype = _integer_type(zero)
    graph.sort()
    return codes


def _before(codes: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """The codes that an output's were converted from, with their scale and zero point."""
    quantizer = codes.producer()
    floating = quantizer.inputs[0] if quantizer is not None and quantizer.inputs else None
    made = floating.producer() if floating is not None else None
    if made is None or made.op_type != "DequantizeLinear":
        return None
    first, scale, zero = made.inputs
    assert first is not None
    assert scale is not None
    assert zero is not None
    return first, scale, zero


def _decode(graph: ir.Graph, index: int, codes: tuple[ir.Value, ir.Value, ir.Value]) -> None:
    """Let an output be decoded from 16-bit codes; other nodes read what was made of those."""
    from converter.graph.rewrite import Builder

    value = graph.outputs[index]
    name = value.name
    value.name = f"{name}/dequantized"
    b = Builder(graph, f"{name}/decode")
    b.domain = "com.microsoft"
    x = b.op("DequantizeLinear", *codes)
    x.name, x.type, x.shape = name, value.type, value.shape
    graph.extend(b.nodes)
    graph.outputs[index] = x


def _behind_a_node(
    graph: ir.Graph, codes: ir.Value, scale: ir.Value | None, zero: ir.Value | None
) -> ir.Value:
    """The same codes, made by a node: a Concat of one, which no optimizer removes.

    ONNX Runtime puts its transpositions to NCHW behind codes that are converted at the graph's end;
    QNN takes none of codes whose scale it does not know.
    """
    from converter.graph.rewrite import Builder, array_of

    b = Builder(graph, f"{codes.name}/end")
    b.domain = "com.microsoft"
    again = [
        b.constant(array, array.dtype) for array in map(array_of, (scale, zero)) if array is not None
    ]
    x = b.op("DequantizeLinear", codes, *again)
    b.domain = ""
    x = b.op("Concat", x, axis=0)
    b.domain = "com.microsoft"
    again = [
        b.constant(array, array.dtype) for array in map(array_of, (scale, zero)) if array is not None
    ]
    x = b.op("QuantizeLinear", x, *again)
    x.shape = codes.shape
    graph.extend(b.nodes)
    return x


def _narrowed(
    graph: ir.Graph, value: ir.Value, limits: tuple[float, float]
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """8-bit codes of an output that is computed in 16 bits, with their scale and zero point."""
    from converter.graph.rewrite import Builder

    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / 255 or 1.0
    b = Builder(graph, f"{value.name}/narrow")
    b.domain = "com.microsoft"
    scale = b.constant(step)
    zero = b.constant(round(-low / step), np.uint8)
    codes = b.op("QuantizeLinear", value, scale, zero)
    codes.shape = value.shape
    graph.extend(b.nodes)
    return codes, scale, zero


def _constant_type(value: ir.Value | None) -> Any:
    from converter.graph.rewrite import array_of

    array = array_of(value)
    assert array is not None
    return array.dtype


def _integer_type(zero: ir.Value | None) -> ir.DataType:
    import onnx_ir as ir

    return ir.DataType.from_numpy(_constant_type(zero))


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
