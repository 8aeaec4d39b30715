"""One session for every subset of quantization points: a float graph with a switch at each.

At each point stands `If(switch, dequantized(quantized(x)), x)`: only what is switched on is computed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from targets.rvc4.mixed.points import Point

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

_SWITCH: Final = "nnconvert:switch:"
_PLAIN: Final = "nnconvert:plain:"


def write_switched(model: str, points: Sequence[Point]) -> str:
    """Write a float model with a switch at each point beside the model, whose weights it reads.

    Returns:
        The file. It has an input of one boolean for each point.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load(model, load_external_data=False)
    graph = proto.graph
    place = {point.tensor: index for index, point in enumerate(points)}
    outputs = {value.name for value in graph.output}
    switches: dict[str, list[onnx.NodeProto]] = {}
    for point in points:
        index = place[point.tensor]
        graph.input.append(helper.make_tensor_value_info(f"{_SWITCH}{index}", TensorProto.BOOL, []))
        for suffix, value in (
            ("scale", np.float32(point.scale)),
            ("zero", np.uint8(point.zero_point)),
        ):
            name = f"{_SWITCH}{index}:{suffix}"
            graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        # An output keeps its name; anything else keeps it in front of the switch.
        is_output = point.tensor in outputs
        plain = f"{_PLAIN}{index}" if is_output else point.tensor
        switched = point.tensor if is_output else f"{_PLAIN}{index}"
        switches[point.tensor] = [_switch(index, plain, switched)]
    renamed = {name: (f"{_PLAIN}{index}", name not in outputs) for name, index in place.items()}
    nodes = [node for name in (v.name for v in graph.input) for node in switches.get(name, [])]
    for node in graph.node:
        for index, name in enumerate(node.input):
            other, after = renamed.get(name, (name, True))
            node.input[index] = other if after else name
        made = list(node.output)
        for index, name in enumerate(made):
            other, after = renamed.get(name, (name, True))
            node.output[index] = name if after else other
        nodes += [node, *(switch for name in made for switch in switches.get(name, []))]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    target = str(Path(model).with_name(f"switched-{Path(model).name}"))
    onnx.save(proto, target)
    return target


def _switch(index: int, plain: str, switched: str) -> onnx.NodeProto:
    from onnx import TensorProto, helper

    codes, real, same = (f"{_SWITCH}{index}:{part}" for part in ("codes", "real", "same"))
    format_ = [f"{_SWITCH}{index}:scale", f"{_SWITCH}{index}:zero"]
    on = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", [plain, *format_], [codes]),
            helper.make_node("DequantizeLinear", [codes, *format_], [real]),
        ],
        "on",
        [],
        [helper.make_tensor_value_info(real, TensorProto.FLOAT, None)],
    )
    off = helper.make_graph(
        [helper.make_node("Identity", [plain], [same])],
        "off",
        [],
        [helper.make_tensor_value_info(same, TensorProto.FLOAT, None)],
    )
    return helper.make_node(
        "If",
        [f"{_SWITCH}{index}"],
        [switched],
        name=f"{_SWITCH}{index}:if",
        then_branch=on,
        else_branch=off,
    )


class Switched:
    """A model with switches, loaded."""

    def __init__(self, path: str, count: int) -> None:
        from converter.sources.onnx_session import session_of

        self._session = session_of(path, exact=True)
        self._names = [item.name for item in self._session.get_outputs()]
        self._count = count

    def run(
        self, feed: Mapping[str, NDArray[Any]], on: Collection[int] = ()
    ) -> dict[str, NDArray[Any]]:
        """The outputs for one frame with some points switched on.

        Args:
            feed: By input name, in the float model's shape and dtype.
            on: The points' indices.
        """
        switches = {f"{_SWITCH}{index}": np.array(index in on) for index in range(self._count)}
        values = self._session.run(self._names, {**feed, **switches})
        return dict(zip(self._names, values, strict=True))
