"""The quantization points of an integer network: where 8-bit codes act on a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from targets.rvc4.quantization.bias_correction import dequantized
from targets.rvc4.quantization.switched import Codes, Operand
from targets.rvc4.quantization.widths import MOVES, PARAMETERS, Links

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from numpy.typing import NDArray

# How the quantizer goes on behind the name of a tensor of the float graph.
_SUFFIX: Final = "_QuantizeLinear"


@dataclass(frozen=True, kw_only=True)
class Point:
    """A tensor that 8-bit codes stand for.

    Attributes:
        tensor: Its name in the float graph.
        scale, zero_point: Of its codes.
    """

    tensor: str
    scale: float
    zero_point: int

    @property
    def codes(self) -> Codes:
        """Step, lowest and highest code."""
        return self.scale, -float(self.zero_point), 255.0 - self.zero_point


def points(graph: onnx.GraphProto, network: onnx.GraphProto) -> list[Point]:
    """The points of a network that loses something at each of them, in the float graph's order.

    Left out are tensors of other widths, frames (a code is a pixel) and what a node only moved from one
    tensor with the same codes.

    Args:
        graph: The float graph.
        network: The integer network that was made of it.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in network.initializer}
    codes: dict[str, tuple[float, int]] = {}
    for node in network.node:
        if node.op_type != "QuantizeLinear" or len(node.input) < 3:
            continue
        scale, zero = (constants.get(name) for name in node.input[1:3])
        if scale is None or zero is None:
            continue
        zeros = numpy_helper.to_array(zero)
        if str(zeros.dtype) == "uint8" and zeros.size == 1:
            name = node.input[0].partition(_SUFFIX)[0]
            codes.setdefault(name, (numpy_helper.to_array(scale).item(), int(zeros.item())))
    links = Links.of(graph)
    found = []
    for name in [*links.inputs, *links.makers]:
        if name not in codes or _is_moved(links, name, codes):
            continue
        scale_, zero_point = codes[name]
        found.append(Point(tensor=name, scale=scale_, zero_point=zero_point))
    return found


def rounded(graph: onnx.GraphProto, network: ir.Model) -> dict[Operand, NDArray[Any]]:
    """The weights and biases of an integer network as real numbers, by the float graph's operands."""
    made = {str(node.name): node for node in network.graph}
    found: dict[Operand, NDArray[Any]] = {}
    for node in graph.node:
        other = made.get(node.name)
        if other is None or other.op_type != node.op_type:
            continue
        for place in PARAMETERS.get(node.op_type, ()):
            if place >= min(len(node.input), len(other.inputs)):
                continue
            array = dequantized(other.inputs[place])
            if array is not None:
                found[node.name, place] = array.astype(np.float32)
    return found


def _is_moved(links: Links, name: str, codes: dict[str, tuple[float, int]]) -> bool:
    """Whether a tensor's codes are those of the one tensor that it was moved from."""
    made = links.makers.get(name)
    if made is None or made.op_type not in MOVES:
        return False
    sources = list(links.moved_from(made))
    return bool(sources) and all(_origin_codes(links, one, codes) == codes[name] for one in sources)


def _origin_codes(
    links: Links, name: str, codes: dict[str, tuple[float, int]]
) -> tuple[float, int] | None:
    """A tensor's codes; those of frames, which have none of their own inside, are one step a pixel."""
    return codes.get(name, (1.0, 0) if name in links.inputs else None)
