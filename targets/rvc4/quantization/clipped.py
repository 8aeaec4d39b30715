"""Relu and Clip that the codes behind them do not stand for."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from targets.rvc4.quantization.given import Given
from targets.rvc4.quantization.widths import FUSED

if TYPE_CHECKING:
    import onnx


def clipped_inside(graph: onnx.GraphProto, given: Given) -> tuple[Given, list[str]]:
    """The outputs of Relu and Clip whose encodings reach beyond the node's limits.

    The quantizer leaves such a node out, as measured ranges end where it cuts off. Here it must stay,
    between two tensors of the same codes, in which it is exact.

    Returns:
        The encodings, with those of the tensors in front that have none; and the outputs.
    """
    import onnx

    constants = {item.name: item for item in graph.initializer}
    readers: dict[str, int] = {}
    for name in (
        *(name for node in graph.node for name in node.input),
        *(v.name for v in graph.output),
    ):
        readers[name] = readers.get(name, 0) + 1
    own = {value.name for value in graph.input}
    added, found = dict(given.encodings), []
    for node in graph.node:
        encoding = given.encodings.get(node.output[0])
        if node.op_type not in FUSED or encoding is None or len(encoding.scales) > 1:
            continue
        low, high = (0.0, math.inf) if node.op_type == "Relu" else (-math.inf, math.inf)
        limits = [low, high]
        for index, name in enumerate(node.input[1:]):
            if name in constants:
                limits[index] = float(onnx.numpy_helper.to_array(constants[name]).item())
        step, first = encoding.scales[0], encoding.offsets[0]
        last = first + 2**encoding.bitwidth - 1
        if first * step > limits[0] - step / 2 and last * step < limits[1] + step / 2:
            continue
        found.append(node.output[0])
        if readers[node.input[0]] == 1 and node.input[0] not in own:
            added.setdefault(node.input[0], encoding)
    return Given(encodings=added, axes=given.axes, unused=given.unused), found
