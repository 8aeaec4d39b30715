"""A network's inputs and outputs: the integer tensors themselves, under their own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

# A pixel's value as a 16-bit code: all 16 bits in use, as the HTP wants them, and every value exact.
# (With scale 1 the emulator's 16-bit convolutions were wrong.)
WIDE_SCALE: Final = 255 / 65535
# Operators that move pixels and compute nothing.
MOVES: Final = ("Gather", "Transpose")


def expose(model: ir.Model, images: Sequence[str], activations: int) -> dict[str, Any]:
    """Make integer tensors the graph's inputs and outputs, names and order kept.

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
    """Let inputs that a host has normalized take float16, as a camera's float frames are."""
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
    """Let an input of frames take bytes; they mean themselves.

    Activations of 16 bits begin with a conversion of the frame: 8-bit codes as 16-bit ones.
    """
    import onnx_ir as ir

    from converter.graph.rewrite import Builder

    users = list(value.uses())
    value.dtype = ir.DataType.UINT8
    b = Builder(graph, f"{value.name}/codes")
    b.domain = "com.microsoft" if activations == 16 else ""
    codes, zero, one = value, b.constant(0, np.uint8), b.constant(1.0)
    if activations == 16:
        pixels = b.op("DequantizeLinear", value, one, zero)
        zero, one = b.constant(0, np.uint16), b.constant(WIDE_SCALE)
        codes = b.op("QuantizeLinear", pixels, one, zero)
    others = []
    for node, index in users:
        if node.op_type == "QuantizeLinear":
            ir.convenience.replace_all_uses_with(node.outputs[0], codes)
            graph.remove(node, safe=True)
        else:
            others.append((node, index))
    if others:
        x = b.op("DequantizeLinear", codes, one, zero)
        for node, index in others:
            node.replace_input_with(index, x)
    graph.insert_before(graph[0], b.nodes)
    for node, _ in others:
        _move_codes(graph, node, one, zero, b.domain)


def _move_codes(graph: ir.Graph, node: ir.Node, one: ir.Value, zero: ir.Value, domain: str) -> None:
    """Have a node that moves pixels move codes; the quantizer leaves it floating at an input."""
    import onnx_ir as ir

    from converter.graph.rewrite import Builder

    moved = node.outputs[0]
    if node.op_type not in MOVES or all(n.op_type == "QuantizeLinear" for n, _ in moved.uses()):
        return
    users = list(moved.uses())
    b = Builder(graph, f"{node.name}/codes")
    b.domain = domain
    x = b.op("DequantizeLinear", b.op("QuantizeLinear", moved, one, zero), one, zero)
    graph.insert_after(node, b.nodes)
    for user, index in users:
        if user.op_type == "QuantizeLinear":
            ir.convenience.replace_all_uses_with(user.outputs[0], b.nodes[0].outputs[0])
            graph.remove(user, safe=True)
        else:
            user.replace_input_with(index, x)
            _move_codes(graph, user, one, zero, domain)
