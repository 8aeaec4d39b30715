"""Values that are the same on every frame: constants, and what follows from shapes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from converter.graph.rewrite import array_of, int_attribute, static_shape

# Conditions and counts are made of few numbers; a computation with weights is not one of them.
_MOST_ELEMENTS: Final = 1 << 22
_DRAWN: Final = ("Bernoulli", "Multinomial")


def known_value(
    value: ir.Value | None, dtype: ir.DataType, opsets: Mapping[str, int]
) -> NDArray[Any] | None:
    """The array that a value has on every frame, in its ONNX shape and dtype; None if there is none.

    Shapes must have been inferred. ONNX Runtime computes what is not stored.

    Args:
        dtype: The value's type.
        opsets: The model's, by domain.
    """
    if value is None or (stored := array_of(value)) is not None:
        return None if value is None else stored
    nodes: dict[ir.Node, None] = {}
    leaves: dict[str, ir.TensorProtocol] = {}
    if not _collect(value, nodes, leaves):
        return None
    if sum(tensor.size for tensor in leaves.values()) > _MOST_ELEMENTS:
        return None
    return _computed(str(value.name), dtype, list(nodes), leaves, opsets)


def inputs_behind(value: ir.Value | None) -> list[str]:
    """The names of the graph's inputs that a value is computed from, in the order found."""
    found: dict[str, None] = {}
    seen: set[ir.Value] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        node = current.producer()
        if node is not None:
            waiting += reversed(node.inputs)
        elif current.is_graph_input() and not current.is_initializer():
            found[str(current.name)] = None
    return list(found)


def _collect(value: ir.Value, nodes: dict[ir.Node, None], leaves: dict[str, ir.TensorProtocol]) -> bool:
    """Gather what a value is computed from, producers first; False if that is an input."""
    name = str(value.name)
    if name in leaves:
        return True
    tensor = ir.convenience.get_const_tensor(value)
    if tensor is None:
        tensor = _shape_of(value)
    if tensor is not None:
        leaves[name] = tensor
        return True
    node = value.producer()
    if node is None or node.op_type in _DRAWN or node.op_type.startswith("Random"):
        return False
    if node in nodes:
        return True
    if any(attribute.type == ir.AttributeType.GRAPH for attribute in node.attributes.values()):
        return False
    if not all(each is None or _collect(each, nodes, leaves) for each in node.inputs):
        return False
    nodes[node] = None
    return True


def _shape_of(value: ir.Value) -> ir.TensorProtocol | None:
    """What Shape and Size give of a tensor of known shape."""
    import numpy as np

    node = value.producer()
    if node is None or node.op_type not in ("Shape", "Size"):
        return None
    x = node.inputs[0]
    if x is None or x.shape is None:
        return None
    if node.op_type == "Size":
        whole = static_shape(x)
        return None if whole is None else ir.Tensor(np.asarray(np.prod(whole, dtype=np.int64)))
    end = int_attribute(node, "end", len(x.shape))
    part = x.shape[int_attribute(node, "start", 0) : end]
    sizes = [size for size in part if isinstance(size, int)]
    return ir.Tensor(np.asarray(sizes, np.int64)) if len(sizes) == len(part) else None


def _computed(
    name: str,
    dtype: ir.DataType,
    nodes: list[ir.Node],
    leaves: dict[str, ir.TensorProtocol],
    opsets: Mapping[str, int],
) -> NDArray[Any] | None:
    import onnx

    ort: Any = importlib.import_module("onnxruntime")  # its stubs leave these names out
    quiet = ort.SessionOptions()
    quiet.log_severity_level = 4

    initializers = []
    for leaf, tensor in leaves.items():
        proto = ir.serde.serialize_tensor(tensor)
        proto.name = leaf
        initializers.append(proto)
    output = onnx.helper.make_tensor_value_info(name, int(dtype), None)
    graph = onnx.helper.make_graph([ir.to_proto(node) for node in nodes], "known", [], [output])
    graph.initializer.extend(initializers)
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid(*entry) for entry in opsets.items()],
        ir_version=8,
    )
    try:
        content: bytes = model.SerializeToString()  # type: ignore[no-untyped-call]
        session = ort.InferenceSession(content, quiet, providers=["CPUExecutionProvider"])
        found: NDArray[Any] = session.run([name], {})[0]
    except Exception:  # noqa: BLE001 - ONNX Runtime's exceptions have no common base class
        return None
    return found
