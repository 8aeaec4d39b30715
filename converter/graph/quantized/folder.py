"""What is known of a quantized graph's tensors while its nodes are read one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from converter.findings import Finding
from converter.graph.quantized.codes import (
    Codes,
    SourceRange,
    as_integers,
    from_integers,
    from_the_front,
    numbers,
    regrid,
    rounded,
    saturate,
)
from converter.graph.rewrite import Builder, array_of, int_attribute

# Whose operators are read: ONNX's and ONNX Runtime's.
DOMAINS: Final = ("", "ai.onnx", "com.microsoft")
# How ONNX Runtime's quantizer ends the names of what it puts in.
_ENDINGS: Final = ("_DequantizeLinear_Output", "_DequantizeLinear", "_quantized", "_dequantized")


class UnreadableError(Exception):
    """Something about a node that cannot be read; the text follows the node's name."""


# Given a node, what takes the place of its outputs; None leaves the node as it is.
Replacement = Sequence["ir.Value | Codes | None"] | None


class Folder:
    """What is known of a graph's quantized tensors while it is walked in topological order."""

    def __init__(self, graph: ir.Graph, *, saturated: bool) -> None:
        self.problems: list[Finding] = []
        self.ranges: list[tuple[ir.Value, SourceRange]] = []
        self._saturated = saturated
        self._names = {str(value.name) for value in _values(graph)}
        self._codes: dict[ir.Value, Codes] = {}
        self._read: set[ir.Node] = set()
        # Products of codes with constant weights, which may still take the scale behind them.
        self.products: dict[ir.Value, ir.Node] = {}
        # The scales of dynamic quantization, which are one here.
        self.ones: set[ir.Value] = set()

    def walk(
        self, graph: ir.Graph, rules: Mapping[str, CodeRule], around: Mapping[str, CodeRule]
    ) -> None:
        """Read every node of a graph and of the graphs inside it.

        Args:
            rules: For operators on codes; None of a rule leaves its node as it is.
            around: For ONNX's own operators that may stand between codes.
        """
        for node in list(graph):
            for inner in _inner_graphs(node):
                self.walk(inner, rules, around)
            rule = rules.get(node.op_type) if node.domain in DOMAINS else None
            if rule is None and node.domain in DOMAINS[:2]:
                rule = around.get(node.op_type)
            if rule is None:
                continue
            builder = Builder(graph, node.name or str(node.outputs[0].name))
            try:
                found = rule(node, builder, self)
            except UnreadableError as problem:
                self._report(node, str(problem))
                found = None
            if found is None:
                continue
            self._read.add(node)
            graph.insert_before(node, builder.nodes)
            for old, new in zip(node.outputs, found, strict=False):
                if isinstance(new, Codes):
                    self._codes[old] = new
                elif new is not None:
                    self._give_way(old, new)

    def settle(self) -> None:
        """Write out the codes that something else still reads."""
        for value, codes in self._codes.items():
            users = [(user, index) for user, index in value.uses() if user not in self._read]
            maker = value.producer()
            if maker is None or maker.graph is None or not (users or value.is_graph_output()):
                continue
            if codes.is_dynamic:
                reader = users[0][0] if users else maker
                self._report(reader, "computes with codes whose scale is measured on each frame.")
                continue
            builder = Builder(maker.graph, maker.name or str(value.name))
            integers = as_integers(builder, codes)
            if integers is None:
                self._report(maker, "quantizes channels of a tensor of unknown rank.")
                continue
            integers.type, integers.shape = value.type, value.shape
            maker.graph.insert_after(maker, builder.nodes)
            for user, index in users:
                user.replace_input_with(index, integers)
            if value.is_graph_output():
                self._give_way(value, integers)

    def _report(self, node: ir.Node, problem: str) -> None:
        self.problems.append(
            Finding(
                code="model.quantization",
                where=f"node {node.name or node.outputs[0].name!r} ({node.op_type})",
                message=problem,
                remedy="Convert the float model instead.",
            )
        )

    def _give_way(self, old: ir.Value, new: ir.Value) -> None:
        """Let a tensor take the place of another; of a graph's output it takes the name."""
        if new.shape is None and not new.is_graph_input() and old.shape is not None:
            new.shape = old.shape
        for user, index in list(old.uses()):
            user.replace_input_with(index, new)
        maker = old.producer()
        if not old.is_graph_output() or maker is None or maker.graph is None:
            return
        graph, name = maker.graph, old.name
        if new.producer() is None or new.is_graph_output() or new.graph is not graph:
            copy = ir.node("Identity", [new], name=f"{maker.name or name}/output")
            copy.outputs[0].type = old.type
            graph.insert_after(maker, copy)
            self.ranges += [(copy.outputs[0], grid) for value, grid in self.ranges if value is new]
            new = copy.outputs[0]
        old.name = f"{name}/quantized"
        new.name, new.type, new.shape = name, old.type, old.shape
        for index, value in enumerate(graph.outputs):
            if value is old:
                graph.outputs[index] = new

    # ------------------------------------------------------------- for the rules

    def codes(self, value: ir.Value | None) -> Codes | None:
        """What is known of a tensor of codes."""
        return None if value is None else self._codes.get(value)

    def quantized(self, b: Builder, x: ir.Value, grid: SourceRange, codes: ir.Value) -> Codes:
        """A computed tensor on a grid: without what the codes cut off.

        Args:
            codes: The node's output, whose shape `x` has.
        """
        if x.shape is None:
            x.shape = codes.shape
        self.ranges.append((x, grid))
        if self._saturated:
            kept = saturate(b, x, grid)
            if kept is None:
                raise UnreadableError("quantizes channels of a tensor of unknown rank.")
            if kept is not x:
                kept.type = x.type
                kept.shape = x.shape
                self.ranges.append((kept, grid))
            x = kept
        return Codes(real=x, grid=grid)

    def reals(
        self,
        b: Builder,
        value: ir.Value | None,
        grid: SourceRange,
        *,
        given: ir.Value | None = None,
        block: int = 0,
    ) -> ir.Value:
        """The float tensor that codes stand for on a grid.

        Args:
            value: Constant codes, codes of this graph, or any other tensor of integers.
            given: The float tensor that the result replaces; a constant takes its name.
        """
        if value is None:
            raise UnreadableError("lacks an input.")
        codes, array = self.codes(value), array_of(value)
        found: ir.Value | None
        if codes is not None:
            found = regrid(b, codes, grid)
        elif array is not None:
            grid = from_the_front(grid, array.ndim)
            name = str((given or value).name)
            if given is not None:
                self._release(given)
            if len(value.uses()) == 1:
                self._release(value)
            found = self._constant(b, numbers(array, grid, block), name)
            self.ranges.append((found, grid))
        else:
            found = None if block else from_integers(b, value, grid)
        if found is None:
            raise UnreadableError("quantizes channels of a tensor of unknown rank.")
        return found

    def rounded(self, b: Builder, array: NDArray[Any], grid: SourceRange, name: str) -> ir.Value:
        """Constant reals as they are after a trip through their codes."""
        grid = from_the_front(grid, array.ndim)
        found = self._constant(b, numbers(rounded(array, grid), grid), name)
        self.ranges.append((found, grid))
        return found

    def _release(self, value: ir.Value) -> None:
        """Let a tensor that goes give its name away."""
        if value.is_graph_output() or not value.name:
            return
        name = value.name
        if value.const_value is not None:
            # Renaming a value renames its tensor, which may be the caller's.
            value.const_value = ir.Tensor(value.const_value.numpy(), name=name)
        value.name = f"{name}/codes"
        self._names.discard(name)

    def _constant(self, b: Builder, array: NDArray[Any], name: str) -> ir.Value:
        """A constant under the name that it had before it was quantized, if that is free."""
        value = b.constant(array, array.dtype)
        for ending in _ENDINGS:
            name = name.removesuffix(ending)
        if name and name not in self._names:
            self._names.add(name)
            del b.graph.initializers[str(value.name)]
            value.name = name
            b.graph.register_initializer(value)
        return value


def grid_of(
    scale: ir.Value | None, zero: ir.Value | None, *, axis: int | None, dtype: str = ""
) -> SourceRange:
    """The grid that a node's scale and zero point give.

    Args:
        axis: Of the channels, if the scale has one value for each.
        dtype: Of the codes, where there is no zero point.

    Raises:
        UnreadableError: The scale or the zero point is computed.
    """
    scales = known(scale)
    if scales is None:
        raise UnreadableError("has a scale that is computed, not constant.")
    zeros = known(zero)
    if zero is not None and zeros is None:
        raise UnreadableError("has a zero point that is computed, not constant.")
    if zero is not None and zeros is not None:
        dtype = zero.dtype.name.lower() if zero.dtype is not None else str(zeros.dtype)
        if "float" in dtype:
            raise UnreadableError(f"has codes of {dtype}.")
    flat = scales.size == 1 and scales.ndim <= 1
    scales = scales.reshape(()) if flat else scales
    zeros = np.zeros(scales.shape, np.int64) if zeros is None else zeros.astype(np.int64)
    zeros = zeros.reshape(()) if zeros.size == 1 else zeros
    return SourceRange(
        scale=scales,
        zero_point=np.broadcast_to(zeros, scales.shape),
        dtype=dtype or "uint8",
        axis=None if flat else axis,
    )


def known(value: ir.Value | None) -> NDArray[Any] | None:
    """A constant, be it behind nodes that copy it."""
    array = array_of(value)
    node = None if value is None or array is not None else value.producer()
    if node is None or node.op_type not in ("Identity", "Cast"):
        return array
    array = known(node.inputs[0])
    if array is None or node.op_type == "Identity":
        return array
    return array.astype(ir.DataType(int_attribute(node, "to", 1)).numpy())


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from (*graph.inputs, *graph.initializers.values())
    for node in graph:
        yield from node.outputs
        for inner in _inner_graphs(node):
            yield from _values(inner)


def _inner_graphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


CodeRule = Callable[[ir.Node, Builder, Folder], Replacement]
