"""The decoding of an export, run alone: from numbers on its grids to its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from converter.graph.rewrite import int_attribute, static_shape
from converter.yolo.decode import Array
from converter.yolo.grids import Grid

_SEED = 20


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Numbers on the grids, and what the export makes of them.

    Attributes:
        parts: By name, the tensors (C, H, W) of the grids.
        output: The export's output for them, without its first axis.
    """

    parts: dict[str, Array]
    output: Array


def probe(model: ir.Model, output: ir.Value, grids: Sequence[Grid]) -> Probe | None:
    """Run the decoding between grids and an output on random numbers.

    The nodes in front of the grids are not run. None if the output depends on more than the grids, or
    if ONNX Runtime does not run it.
    """
    graph = model.graph
    parts = {part.name: part for grid in grids for part in grid.parts}
    found = _between(graph, output, set(parts))
    if found is None:
        return None
    nodes, constants = found
    values = {value.name: value for node in nodes for value in node.inputs if value is not None}
    shapes = {name: static_shape(values[name]) for name in parts if name in values}
    random = np.random.default_rng(_SEED)
    feeds: dict[str, Array] = {}
    for name, shape in shapes.items():
        assert shape is not None
        raw = random.normal(0, 1.5, shape)
        feeds[name] = (1 / (1 + np.exp(-raw)) if parts[name].activated else raw).astype(np.float32)
    try:
        result = _run(graph, nodes, constants, feeds, output)
    except Exception:  # noqa: BLE001 - whatever ONNX and ONNX Runtime raise for an odd graph
        return None
    return Probe(parts={name: feed[0] for name, feed in feeds.items()}, output=result[0])


def _between(
    graph: ir.Graph, output: ir.Value, ends: set[str]
) -> tuple[list[ir.Node], dict[str, Array]] | None:
    """The nodes behind some tensors, in order, and their constants; None if they need anything else.

    The shape of a tensor in front of them is a constant.
    """
    wanted: set[int] = set()
    constants: dict[str, Array] = {}
    stack = [output]
    while stack:
        value = stack.pop()
        name, node = value.name or "", value.producer()
        if name in ends:
            continue
        if node is None:
            if value.const_value is None:
                return None
            constants[name] = value.const_value.numpy()
        elif node.op_type == "Shape" and (shape := static_shape(node.inputs[0])) is not None:
            start, end = int_attribute(node, "start", 0), int_attribute(node, "end", len(shape))
            constants[name] = np.array(shape[start:end], np.int64)
        elif id(node) not in wanted:
            wanted.add(id(node))
            stack += [item for item in node.inputs if item is not None]
    return [node for node in graph if id(node) in wanted], constants


def _run(
    graph: ir.Graph,
    nodes: Sequence[ir.Node],
    constants: dict[str, Array],
    feeds: dict[str, Array],
    output: ir.Value,
) -> Array:
    import onnx
    from onnx import helper

    from converter.sources.onnx_session import session_of

    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()]
    kinds = dict.fromkeys(feeds, onnx.TensorProto.FLOAT)
    made = helper.make_graph(
        [ir.to_proto(node) for node in nodes],
        "decoding",
        [helper.make_tensor_value_info(name, kinds[name], feeds[name].shape) for name in feeds],
        [helper.make_empty_tensor_value_info(output.name or "")],
        tensors,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in graph.opset_imports.items()]
    proto = helper.make_model(made, opset_imports=opsets, ir_version=min(10, onnx.IR_VERSION))
    session = session_of(proto.SerializeToString())  # type: ignore[no-untyped-call]
    found: Array = session.run([output.name], feeds)[0]
    return found
