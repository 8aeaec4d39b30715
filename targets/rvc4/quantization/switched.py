"""One session for any choice of codes: the float model with a switch at each of some tensors.

At each tensor stands `If(is_on, coded(x), x)`: step, lowest and highest code are inputs, and only what
is switched on is computed. So one session has the outputs for every subset of tensors, and for any
ranges and widths of them. Constants can be an integer network's, with their rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

Range = tuple[float, float]
# Step, lowest and highest code.
Codes = tuple[float, float, float]
# A node's name and the place among its inputs.
Operand = tuple[str, int]
_SWITCH: Final = "nnconvert:switch:"
_KINDS: Final = ("step", "low", "high")
_OFF: Final[Codes] = (1.0, 0.0, 0.0)
_TINY: Final = 1e-30


class Switched:
    """A float model with a switch at each of some tensors, loaded."""

    def __init__(
        self,
        model: str,
        names: Sequence[str],
        constants: Mapping[Operand, NDArray[Any]] | None = None,
    ) -> None:
        """Write the model with switches beside the model, whose weights it reads, and load it.

        Args:
            model: The float model's file; names: float tensors of it.
            constants: Arrays of the same shapes that take the place of nodes' constants.
        """
        from converter.sources.onnx_session import session_of

        path = _write(model, names, constants or {})
        self._session = session_of(path, exact=True)
        self._names = [item.name for item in self._session.get_outputs()]
        self._count = len(names)

    def run(
        self, feed: Mapping[str, NDArray[Any]], codes: Sequence[Codes | None] | None = None
    ) -> dict[str, NDArray[Any]]:
        """The outputs for one frame, by name.

        Args:
            feed: By input name, in the float model's shape and dtype.
            codes: Of each tensor (`codes_of`); None for one that is not rounded, or for all.
        """
        told: dict[str, NDArray[Any]] = {}
        for index, item in enumerate(codes or [None] * self._count):
            told[f"{_SWITCH}{index}"] = np.array(item is not None)
            for kind, number in zip(_KINDS, item or _OFF, strict=True):
                told[f"{_SWITCH}{index}:{kind}"] = np.array(number, np.float32)
        values = self._session.run(self._names, {**feed, **told})
        return dict(zip(self._names, values, strict=True))

    def run_all(
        self,
        feeds: Sequence[Mapping[str, NDArray[Any]]],
        codes: Sequence[Codes | None] | None = None,
    ) -> list[dict[str, NDArray[Any]]]:
        """The outputs of each frame (`run`)."""
        return [self.run(feed, codes) for feed in feeds]


def codes_of(limits: Range, bits: int) -> Codes:
    """The step of a range, its lowest and its highest code; 0 is one of them."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    step = (high - low) / (2**bits - 1) or 1.0
    zero = round(-low / step)
    return step, -float(zero), float(2**bits - 1 - zero)


def distance(
    expected: Sequence[Mapping[str, NDArray[Any]]], found: Sequence[Mapping[str, NDArray[Any]]]
) -> float:
    """The mean over the float outputs of the relative RMSE over all frames."""
    errors = []
    for name, first in expected[0].items():
        if first.dtype.kind != "f":
            continue
        a, b = (
            np.concatenate([np.ravel(frame[name]) for frame in side]).astype(np.float64)
            for side in (expected, found)
        )
        energy = np.square(a - a.mean()).sum() if a.size > 1 else np.square(a).sum()
        errors.append(np.sqrt(np.square(a - b).sum() / max(energy, _TINY)))
    return float(np.mean(errors)) if errors else 0.0


def _write(model: str, names: Sequence[str], constants: Mapping[Operand, NDArray[Any]]) -> str:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load(model, load_external_data=False)
    graph = proto.graph
    outputs = {value.name for value in graph.output}
    for (name, place), array in constants.items():
        node = next(node for node in graph.node if node.name == name)
        node.input[place] = f"{_SWITCH}{name}:{place}"
        graph.initializer.append(numpy_helper.from_array(array, node.input[place]))
    switches: dict[str, onnx.NodeProto] = {}
    for index, name in enumerate(names):
        graph.input.append(helper.make_tensor_value_info(f"{_SWITCH}{index}", TensorProto.BOOL, []))
        graph.input.extend(
            helper.make_tensor_value_info(f"{_SWITCH}{index}:{kind}", TensorProto.FLOAT, [])
            for kind in _KINDS
        )
        other = f"{_SWITCH}{index}:other"
        # An output keeps its name behind the switch; anything else keeps it in front of that.
        plain, switched = (other, name) if name in outputs else (name, other)
        switches[name] = _switch(index, plain, switched)
    nodes = list(_switched(graph, switches))
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    target = str(Path(model).with_name(f"switched-{Path(model).name}"))
    onnx.save(proto, target)
    return target


def _switched(
    graph: onnx.GraphProto, switches: Mapping[str, onnx.NodeProto]
) -> Iterator[onnx.NodeProto]:
    """The nodes, each switch behind what makes its tensor, and what reads that behind the switch."""
    yield from (switches[value.name] for value in graph.input if value.name in switches)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in switches:
                node.input[place] = switches[name].output[0]
        made = list(node.output)
        for place, name in enumerate(made):
            if name in switches and switches[name].output[0] == name:
                node.output[place] = f"{switches[name].name}:other"
        yield node
        yield from (switches[name] for name in made if name in switches)


def _switch(index: int, plain: str, switched: str) -> onnx.NodeProto:
    from onnx import TensorProto, helper

    name = f"{_SWITCH}{index}"
    step, low, high = (f"{name}:{kind}" for kind in _KINDS)
    exact, rounded, codes, real, same = (
        f"{name}:{part}" for part in ("exact", "rounded", "codes", "real", "same")
    )
    on = helper.make_graph(
        [
            helper.make_node("Div", [plain, step], [exact]),
            helper.make_node("Round", [exact], [rounded]),
            helper.make_node("Clip", [rounded, low, high], [codes]),
            helper.make_node("Mul", [codes, step], [real]),
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
    return helper.make_node("If", [name], [switched], name=name, then_branch=on, else_branch=off)
