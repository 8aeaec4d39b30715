"""Nodes with 16-bit activations in a network of 8-bit ones.

What the HTP wants (measured: QAIRT 2.51, 30 kinds of operator in both directions):

- All activations of a node, in and out, have one width; a constant operand has it too.
- Between widths stands a Convert: `Q8 → DQ8 → Q16 → DQ16`, or the reverse.
- A tensor gains only where its producer and its consumers are wide, through nodes that only move
  values and through activations that are fused with what is in front of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from converter.graph.moves import MOVES as ALONE
from targets.rvc4.quantization.io_codes import WIDE_SCALE

if TYPE_CHECKING:
    import onnx

    from targets.rvc4.quantization.given import Given

Rows = dict[str, list[dict[str, Any]]]

# Operators whose outputs hold values of their inputs, unchanged.
MOVES: Final = frozenset({*ALONE, "Concat", "MaxPool", "Pad"})
# The quantizer fuses these with the node in front of them.
FUSED: Final = frozenset({"Relu", "Clip"})
# Inputs that are weights, biases or parameters, which have formats of their own.
PARAMETERS: Final[Mapping[str, Collection[int]]] = {
    "BatchNormalization": range(1, 5),
    "Conv": range(1, 3),
    "ConvTranspose": range(1, 3),
    "Gemm": range(1, 3),
    "GroupNormalization": range(1, 3),
    "InstanceNormalization": range(1, 3),
    "LayerNormalization": range(1, 3),
    "MatMul": range(1, 2),
    "Pad": (1, 3),
    "Clip": range(1, 3),
    "Resize": range(1, 4),
}


@dataclass(frozen=True, kw_only=True)
class Links:
    """Who makes and who reads each tensor of a graph.

    Attributes:
        makers: The node that makes a tensor.
        readers: The nodes that read it.
        constants: Tensors that are initializers.
        inputs: The graph's.
    """

    makers: Mapping[str, onnx.NodeProto]
    readers: Mapping[str, list[onnx.NodeProto]]
    constants: frozenset[str]
    inputs: tuple[str, ...]

    @classmethod
    def of(cls, graph: onnx.GraphProto) -> Links:
        """The links of a graph whose nodes have names."""
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                if name:
                    readers.setdefault(name, []).append(node)
        return cls(
            makers={name: node for node in graph.node for name in node.output if name},
            readers=readers,
            constants=frozenset(tensor.name for tensor in graph.initializer),
            inputs=tuple(value.name for value in graph.input),
        )

    def moved_from(self, node: onnx.NodeProto) -> Iterator[str]:
        """The tensors whose values a node that moves hands on; nothing for other nodes."""
        if node.op_type in MOVES:
            count = len(node.input) if node.op_type == "Concat" else 1
            yield from (name for name in node.input[:count] if name and name not in self.constants)
        elif node.op_type in FUSED and len(self.readers.get(node.input[0], [])) == 1:
            yield node.input[0]

    def follows(self, node: onnx.NodeProto) -> bool:
        """Whether a node hands on the values of what is in front of it."""
        return next(self.moved_from(node), None) is not None


def spread(links: Links, tensors: Iterable[str]) -> frozenset[str]:
    """The nodes that have to be wide for tensors to keep 16 bits wherever they are read.

    Args:
        tensors: Names of float tensors.

    Returns:
        Names of nodes: the tensors' producers and consumers, through moves and fused activations.
    """
    wide: set[str] = set()
    waiting, seen = list(tensors), set[str]()
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        made = links.makers.get(tensor)
        if made is not None:
            wide.add(made.name)
            waiting += links.moved_from(made)
        for node in links.readers.get(tensor, []):
            wide.add(node.name)
            if tensor in links.moved_from(node):
                waiting += node.output
    return frozenset(wide)


def producers(links: Links, tensor: str, kept: Collection[str] = ()) -> frozenset[str]:
    """The nodes that have to be wide for one tensor to have 16 bits from its producers on.

    Args:
        tensor: Such as an output of the graph.
        kept: Tensors that keep 8 bits, such as other outputs; they are converted.

    Returns:
        Names of nodes: those that compute the values, and those that only move them.
    """
    wide: set[str] = set()
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        made = links.makers.get(name)
        if made is None or made.name in wide or (name in kept and name != tensor):
            continue
        wide.add(made.name)
        waiting += links.moved_from(made)
    return frozenset(wide)


@dataclass(frozen=True, kw_only=True)
class Widths:
    """The width of every activation of an 8-bit network.

    Attributes:
        nodes: The nodes whose activations have 16 bits.
        inputs: Inputs of the graph that have 16 bits.
        floats: Nodes that compute in floating point.
    """

    links: Links
    nodes: frozenset[str]
    inputs: frozenset[str] = frozenset()
    floats: frozenset[str] = frozenset()

    @cached_property
    def tensors(self) -> frozenset[str]:
        """The tensors that wide nodes make, and wide inputs."""
        made = (name for name, node in self.links.makers.items() if node.name in self.nodes)
        return frozenset(made) | self.inputs

    def bits(self, tensor: str) -> int:
        """How many bits a tensor's producer gives it."""
        return 16 if tensor in self.tensors else 8

    def overrides(self, floats: Collection[str], frames: Collection[str], given: Given | None) -> Rows:
        """The quantizer's overrides for these widths.

        Args:
            floats: Activations in float32, the tensors that are quantized.
            frames: Inputs whose codes are pixel values.
            given: Encodings, which win over ranges.

        Returns:
            By tensor, rows in the quantizer's format; only for tensors that need any.
        """
        kinds = importlib.import_module("onnxruntime.quantization.quant_utils").QuantType
        kind = {8: kinds.QUInt8, 16: kinds.QUInt16}
        found: Rows = {}
        for name in floats:
            bits = self.bits(name)
            row: dict[str, Any] = {}
            if given is not None and name in given.encodings:
                row = dict(given.codes(name, bits)[0])
            if name in frames:
                row = {"scale": np.array(1, np.float32), "zero_point": np.array(0, np.uint8)}
            readers = [
                node for node in self.links.readers.get(name, []) if node.name not in self.floats
            ]
            others = {node.name for node in readers if (node.name in self.nodes) != (bits == 16)}
            if others:
                row["convert"] = {"quant_type": kind[24 - bits], "recv_nodes": others}
                if name in frames:
                    row["convert"] |= {
                        "scale": np.array(WIDE_SCALE, np.float32),
                        "zero_point": np.array(0, np.uint16),
                    }
            if row or bits == 16:
                found[name] = [row | {"quant_type": kind[bits]}]
        operands = dict.fromkeys(self._operands())
        for name in operands:
            found[name] = [{"quant_type": kinds.QUInt16}]
        if given is not None:
            for name in self.links.constants.intersection(given.encodings):
                found[name] = given.codes(name, 16 if name in operands else 8)
        return found

    def _operands(self) -> Iterator[str]:
        """Constants that wide nodes compute with, other than weights."""
        for name in self.links.constants:
            readers = [node for node in self.links.readers.get(name, []) if computes_with(node, name)]
            # What nodes of both widths read is split (`shared_constants`).
            if readers and all(node.name in self.nodes for node in readers):
                yield name


def computes_with(node: onnx.NodeProto, name: str) -> bool:
    """Whether a constant is an operand of a node, which has its activations' width; weights are not."""
    parameters = PARAMETERS.get(node.op_type, ())
    return not any(item == name and place in parameters for place, item in enumerate(node.input))
