"""Control flow that the shapes settle: If becomes its branch, Loop and Scan are unrolled.

Compilers for cameras take neither. The inputs' shapes are fixed before; what a condition or a count
still depends on then are the numbers of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from converter.errors import ModelError
from converter.graph.known import inputs_behind, known_value
from converter.graph.rewrite import Builder, input_of, int_attribute, ints_attribute
from converter.graph.simplify import infer_shapes

# How many nodes unrolled loops may have: compilers take minutes for more.
MOST_NODES: Final = 5000
_GRAPHS: Final = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def settle_control_flow(model: ir.Model) -> ir.Model:
    """Replace each If, Loop and Scan of a model whose shapes are fixed by nodes without control flow.

    Inputs and outputs keep names and order.

    Raises:
        ModelError: It names the first node whose condition or count depends on a frame or is too large.
    """
    while any(_has_graphs(node) for node in model.graph):
        # A branch's shape is only known when it is in the graph, and may settle what is behind it.
        model = infer_shapes(model)
        before = list(model.graph)
        opsets = dict(model.graph.opset_imports)
        opset = opsets.get("", 1)
        settled = False
        for node in before:
            if node.op_type == "If":
                settled |= _settle_if(node, opsets)
            elif node.op_type == "Loop":
                settled |= _settle_loop(node, opset, opsets)
            elif node.op_type == "Scan":
                settled |= _settle_scan(node, opset)
        if not settled:
            _refuse(next(node for node in model.graph if _has_graphs(node)))
    return model


def _has_graphs(node: ir.Node) -> bool:
    return any(attribute.type in _GRAPHS for attribute in node.attributes.values())


def _refuse(node: ir.Node) -> None:
    what = {"If": "condition", "Loop": "number of turns", "Scan": "number of turns"}.get(node.op_type)
    where = f"node {node.name or node.outputs[0].name!r} ({node.op_type})"
    if what is None:
        raise ModelError(
            f"{where}: a camera's accelerator runs no control flow.",
            remedy="Export the model without it.",
        )
    deciding = node.inputs[: 2 if node.op_type == "Loop" else 1]
    behind = [name for value in deciding for name in inputs_behind(value)]
    remedy = "Export the model with fixed shapes and without branches and loops."
    if behind:
        depends = f"is computed from {', '.join(map(repr, behind[:3]))}"
        remedy = (
            f"If {behind[0]!r} is always the same, set inputs.{behind[0]}.frozen_value; else export "
            "the model without branches and loops."
        )
    else:
        depends = "cannot be worked out before a frame is there"
    raise ModelError(
        f"{where}: its {what} {depends}, and a camera's accelerator runs no control flow.",
        remedy=remedy,
    )


# ------------------------------------------------------------------------ If


def _settle_if(node: ir.Node, opsets: dict[str, int]) -> bool:
    condition = known_value(node.inputs[0], ir.DataType.BOOL, opsets)
    if condition is None:
        return False
    taken = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
    outputs = _inline(node, node.attributes[taken].as_graph(), 0)
    _replace(node, outputs)
    return True


def _inline(node: ir.Node, inner: ir.Graph, turn: int) -> list[ir.Value]:
    """Move the nodes of a graph inside a node in front of it; the graph's outputs as values there."""
    graph = node.graph
    assert graph is not None
    prefix = f"{node.name or node.outputs[0].name}/{turn}"
    outputs = list(inner.outputs)
    inner.outputs.clear()
    for value in list(inner.initializers.values()):
        del inner.initializers[str(value.name)]
        if value.const_value is not None:
            # Renaming a value renames its tensor, which the other turns share.
            value.const_value = ir.Tensor(value.const_value.numpy(), name=value.name)
        value.name = f"{prefix}/{value.name}"
        graph.register_initializer(value)
    nodes = list(inner)
    inner.remove(nodes)
    for each in nodes:
        each.name = f"{prefix}/{each.name or each.op_type}"
        for value in each.outputs:
            value.shape = None  # inferred for another turn, or before the shapes were fixed
            if value.name:
                value.name = f"{prefix}/{value.name}"
    graph.insert_before(node, nodes)
    return outputs


def _replace(node: ir.Node, values: Sequence[ir.Value]) -> None:
    """Let values take the place of a node's outputs, whose names the graph's outputs keep."""
    graph = node.graph
    assert graph is not None
    for old, new in zip(node.outputs, values, strict=True):
        if old.is_graph_output():
            copy = ir.node("Identity", [new])
            graph.insert_before(node, copy)
            new = copy.outputs[0]
            new.type, new.shape = old.type, old.shape
            new.name, old.name = old.name, f"{old.name}/before"
            for index, output in enumerate(graph.outputs):
                if output is old:
                    graph.outputs[index] = new
        ir.convenience.replace_all_uses_with(old, new)
    graph.remove(node, safe=True)


# --------------------------------------------------------------------- loops


class _Turns:
    """The turns of a loop that are written out, one behind the other."""

    def __init__(self, node: ir.Node, body: ir.Graph, opset: int) -> None:
        self._node, self._body, self._opset = node, body, opset
        self._size = max(1, sum(1 for _ in body.all_nodes()))
        self._count = 0

    def add(self, given: Sequence[ir.Value]) -> list[ir.Value]:
        """Write one turn out, with values for the body's inputs; the values of its outputs."""
        self._count += 1
        if self._count * self._size > MOST_NODES:
            raise ModelError(
                f"node {self._node.name or self._node.outputs[0].name!r} ({self._node.op_type}): "
                f"written out, its turns have more than {MOST_NODES:,} nodes.",
                remedy="Export the model with fewer turns (a shorter sequence), or without the loop.",
            )
        turn = self._body.clone(allow_outer_scope_values=True)
        inputs = list(turn.inputs)
        outputs = _inline(self._node, turn, self._count - 1)
        for value, actual in zip(inputs, given, strict=True):
            ir.convenience.replace_all_uses_with(value, actual)
        return [given[inputs.index(value)] if value in inputs else value for value in outputs]

    def gathered(self, values: Sequence[ir.Value], axis: int = 0) -> ir.Value:
        """One value of each turn, put together along a new axis."""
        b = self.builder()
        made = []
        for value in values:
            if self._opset < 13:
                made.append(b.op("Unsqueeze", value, axes=[axis]))
            else:
                made.append(b.op("Unsqueeze", value, b.ints(axis)))
        whole = b.op("Concat", *made, axis=axis)
        self.put(b)
        return whole

    def builder(self) -> Builder:
        """For nodes between the turns; they go into the graph by `put`."""
        graph = self._node.graph
        assert graph is not None
        return Builder(graph, str(self._node.name or self._node.outputs[0].name))

    def put(self, b: Builder) -> None:
        """Put a builder's nodes behind the turns so far."""
        assert self._node.graph is not None
        self._node.graph.insert_before(self._node, b.nodes)


def _settle_loop(node: ir.Node, opset: int, opsets: dict[str, int]) -> bool:
    """Loop(count, condition, state...): states and what each turn adds (ONNX Loop)."""
    count = known_value(node.inputs[0], ir.DataType.INT64, opsets)
    first = input_of(node, 1)
    condition = known_value(first, ir.DataType.BOOL, opsets)
    if (node.inputs[0] is not None and count is None) or (first is not None and condition is None):
        return False
    body = node.attributes["body"].as_graph()
    states = [value for value in node.inputs[2:] if value is not None]
    turns, gathered = _Turns(node, body, opset), []
    total = int(count.reshape(-1)[0]) if count is not None else MOST_NODES
    goes_on = condition is None or bool(condition.reshape(-1)[0])
    turn = 0
    while goes_on and turn < total:
        b = turns.builder()
        index = b.constant(turn, np.int64)
        found = turns.add([index, b.constant(True, np.bool_), *states])
        states, turn = found[1 : 1 + len(states)], turn + 1
        gathered.append(found[1 + len(states) :])
        ends = known_value(found[0], ir.DataType.BOOL, opsets)
        if ends is None:
            raise ModelError(
                f"node {node.name or node.outputs[0].name!r} ({node.op_type}): when it ends depends "
                "on a frame, and a camera's accelerator runs no control flow.",
                remedy="Export the model without the loop.",
            )
        goes_on = bool(ends.reshape(-1)[0])
    _finish(node, turns, states, gathered, [0] * len(gathered[0]) if gathered else [])
    return True


def _finish(
    node: ir.Node,
    turns: _Turns,
    states: Sequence[ir.Value],
    gathered: Sequence[Sequence[ir.Value]],
    axes: Sequence[int],
) -> None:
    missing = len(node.outputs) - len(states)
    if missing and not gathered:
        raise ModelError(
            f"node {node.name or node.outputs[0].name!r} ({node.op_type}): it makes no turn, so "
            f"{node.outputs[len(states)].name!r} is empty.",
            remedy="Export the model with a longer sequence, or without the loop.",
        )
    wholes = [turns.gathered([each[k] for each in gathered], axes[k]) for k in range(missing)]
    _replace(node, [*states, *wholes])


def _settle_scan(node: ir.Node, opset: int) -> bool:
    """Scan(state..., sequence...): a turn for each slice (ONNX Scan, opset 9 and newer)."""
    body = node.attributes["body"].as_graph()
    count = int_attribute(node, "num_scan_inputs", 0)
    inputs = [value for value in node.inputs if value is not None]
    states, sequences = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
    in_axes = ints_attribute(node, "scan_input_axes") or [0] * count
    backwards = ints_attribute(node, "scan_input_directions") or [0] * count
    outputs = len(node.outputs) - len(states)
    out_axes = ints_attribute(node, "scan_output_axes") or [0] * outputs
    out_backwards = ints_attribute(node, "scan_output_directions") or [0] * outputs
    lengths: set[int] = set()
    for sequence, axis in zip(sequences, in_axes, strict=True):
        length = None if sequence.shape is None else sequence.shape[axis]
        if not isinstance(length, int):
            return False
        lengths.add(length)
    if len(lengths) != 1 or opset < 9:
        return False
    (total,) = lengths
    turns, gathered = _Turns(node, body, opset), []
    for turn in range(total):
        b = turns.builder()
        slices = [
            b.op(
                "Gather", sequence, b.constant(total - 1 - turn if back else turn, np.int64), axis=axis
            )
            for sequence, axis, back in zip(sequences, in_axes, backwards, strict=True)
        ]
        turns.put(b)
        found = turns.add([*states, *slices])
        states = found[: len(states)]
        gathered.append(found[len(states) :])
    ordered = [
        [each[k] for each in (reversed(gathered) if out_backwards[k] else gathered)]
        for k in range(outputs)
    ]
    _finish(node, turns, states, list(zip(*ordered, strict=True)), out_axes)
    return True
