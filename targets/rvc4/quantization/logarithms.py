"""Wide logarithms of what the HTP takes for 0 or for infinity.

In 16 bits the HTP (QAIRT 2.51.0, its emulator) takes every x for 0 when the largest one is below about
64, whose step is 2^-10, and float16 ends at 65504. So log x becomes log(k · x) - log k with a power of
two that moves the largest x into between 16384 and 32768. Ranges tell it, so it is done as the network
is quantized.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import onnx

_RIGHT: Final = (128.0, 32768.0)
_EXPONENT: Final = 15


def bring_into_reach(
    graph: onnx.GraphProto, ranges: Mapping[str, tuple[float, float]], wide: Collection[str]
) -> tuple[dict[str, tuple[float, float]], list[str]]:
    """Write log(k · x) - log k for log x, in place, where a wide node's x has another range.

    The node that reads x keeps the name, for which a change of widths may be planned.

    Args:
        ranges: By tensor the lowest and the highest value.
        wide: Names of nodes that compute in 16 bits.

    Returns:
        The ranges of the new tensors, and the names of the new constants.
    """
    from onnx import helper, numpy_helper

    found: dict[str, tuple[float, float]] = {}
    constants: list[str] = []
    nodes: list[onnx.NodeProto] = []
    shapes = {value.name: value for value in graph.value_info}
    for node in graph.node:
        x, y = (*node.input[:1], *node.output[:1]) if node.op_type == "Log" else ("", "")
        high = ranges[x][1] if node.name in wide and x in ranges and y in ranges else 0.0
        if high <= 0 or _RIGHT[0] <= high <= _RIGHT[1] or not math.isfinite(high):
            nodes.append(node)
            continue
        factor = 2.0 ** (_EXPONENT - math.ceil(math.log2(high)))
        scaled, raised = f"{y}/scaled", f"{y}/raised"
        for name, value in ((f"{y}/factor", factor), (f"{y}/shift", -math.log(factor))):
            graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
            constants.append(name)
        nodes += [
            helper.make_node("Mul", [x, f"{y}/factor"], [scaled], name=node.name),
            helper.make_node("Log", [scaled], [raised], name=raised),
            helper.make_node("Add", [raised, f"{y}/shift"], [y], name=f"{y}/shifted"),
        ]
        low_x, (low_y, high_y) = ranges[x][0], ranges[y]
        found[scaled] = low_x * factor, high * factor
        found[raised] = low_y + math.log(factor), high_y + math.log(factor)
        if x in shapes:
            for name in (scaled, raised):
                graph.value_info.append(shapes[x])
                graph.value_info[-1].name = name
    if found:
        del graph.node[:]
        graph.node.extend(nodes)
    return found, constants
