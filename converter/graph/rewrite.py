"""The base of every graph pass: rules that replace a node by new nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Attribute = int | float | str | Sequence[int] | Sequence[float]
# What a node that a rule made knows of the one whose place it took: see `origin_of`.
_ORIGIN: Final = ("nnconvert.node", "nnconvert.operator")


class Builder:
    """Makes the nodes that replace a node; their names begin with its name."""

    def __init__(self, graph: ir.Graph, name: str) -> None:
        self.graph = graph
        self.domain = ""
        self.nodes: list[ir.Node] = []
        self._prefix = name

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Attribute) -> ir.Value:
        """Append a node with one output and return that."""
        return self.ops(op_type, 1, *inputs, **attributes)[0]

    def ops(
        self, op_type: str, outputs: int, *inputs: ir.Value | None, **attributes: Attribute
    ) -> Sequence[ir.Value]:
        """Append a node with several outputs."""
        return self._append(
            ir.node(op_type, inputs, attributes, domain=self.domain, num_outputs=outputs)
        )

    def again(self, node: ir.Node, *inputs: ir.Value | None, op_type: str = "") -> Sequence[ir.Value]:
        """Append a node with another one's attributes, and its operator unless another is named."""
        return self._append(
            ir.Node(
                self.domain if op_type else node.domain,
                op_type or node.op_type,
                inputs,
                [ir.Attr(name, attr.type, attr.value) for name, attr in node.attributes.items()],
                num_outputs=len(node.outputs),
            )
        )

    def _append(self, node: ir.Node) -> Sequence[ir.Value]:
        node.name = self._unique(node.op_type)
        for index, value in enumerate(node.outputs):
            value.name = f"{node.name}:{index}"
        self.nodes.append(node)
        return node.outputs

    def constant(self, values: Any, dtype: Any = np.float32) -> ir.Value:
        """Register an initializer."""
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(values, dtype))
        if np.ndim(values) == 0:
            array = array.reshape(())
        name = self._unique("constant")
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.Tensor(array, name=name),
        )
        self.graph.register_initializer(value)
        return value

    def ints(self, *values: int) -> ir.Value:
        """A vector of int64, as shapes and axes are given."""
        return self.constant(values, np.int64)

    def _unique(self, what: str) -> str:
        count = self.graph.metadata_props.setdefault("nnconvert.names", "0")
        self.graph.metadata_props["nnconvert.names"] = str(int(count) + 1)
        return f"{self._prefix}/{what}.{count}"


# Given a node, the values that take the place of its outputs; None leaves the node as it is.
Rule = Callable[[ir.Node, Builder], Sequence[ir.Value] | None]


class Rewrite(ir.passes.InPlacePass):
    """Apply one rule per operator type, once over the graph in topological order.

    Promises that inputs and outputs keep their names and order.
    """

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        super().__init__()
        self._rules = rules
        self._signature: tuple[list[str | None], list[str | None]] = ([], [])

    def requires(self, model: ir.Model) -> None:
        """Remember the signature, to compare it afterwards."""
        self._signature = _signature(model.graph)

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Rewrite in place."""
        graph = model.graph
        modified = False
        for node in list(graph):
            rule = self._rules.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if rule is None:
                continue
            builder = Builder(graph, node.name or node.op_type)
            replaced = rule(node, builder)
            if replaced is not None:
                replace(graph, node, builder, replaced)
                modified = True
        return ir.passes.PassResult(model, modified)

    def ensures(self, model: ir.Model) -> None:
        """Inputs and outputs are what they were."""
        if _signature(model.graph) != self._signature:
            raise ir.passes.PostconditionError("a rewrite changed the graph's inputs or outputs")


def _signature(graph: ir.Graph) -> tuple[list[str | None], list[str | None]]:
    return [value.name for value in graph.inputs], [value.name for value in graph.outputs]


def replace(graph: ir.Graph, node: ir.Node, builder: Builder, replaced: Sequence[ir.Value]) -> None:
    """Put the builder's nodes in the place of a node, `replaced` in the place of its outputs."""
    made = {id(value) for new in builder.nodes for value in new.outputs}
    outputs, values = [], []
    for output, value in zip(node.outputs, replaced, strict=False):
        if not output.name:
            continue  # an output that is left out; its empty name would leave the value out, too
        # A value that was there before keeps its name, so a copy takes the place of the output.
        outputs.append(output)
        values.append(value if id(value) in made else builder.op("Identity", value))
        made.discard(id(values[-1]))
    for key, text in zip(_ORIGIN, origin_of(node), strict=True):
        for new in builder.nodes:
            new.metadata_props[key] = text
    ir.convenience.replace_nodes_and_values(graph, node, [node], builder.nodes, outputs, values)


def origin_of(node: ir.Node) -> tuple[str, str]:
    """Name and operator of the user's node that a node came from, over all rules."""
    name, operator = (node.metadata_props.get(key) for key in _ORIGIN)
    return name or node.name or node.op_type, operator or node.op_type


def forget_origins(graph: ir.Graph) -> None:
    """Leave nothing of it in a file."""
    for node in graph:
        for key in _ORIGIN:
            node.metadata_props.pop(key, None)


# ------------------------------------------------------------- reading nodes


def array_of(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant's values, in its ONNX shape and dtype; None if the value is computed or absent."""
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """An input, or None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def text_attribute(node: ir.Node, name: str, default: str) -> str:
    """A string attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def ints_attribute(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """A list of integers, or None if the attribute is not set."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """A value's shape if all of it is known."""
    if value is None or value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return tuple(sizes) if len(sizes) == len(value.shape) else None
