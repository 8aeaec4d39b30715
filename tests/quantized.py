"""Small quantized models, as quantizers write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MICROSOFT = "com.microsoft"
TYPES = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8, "int16": TensorProto.INT16,
         "uint16": TensorProto.UINT16, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}  # fmt: skip


class Net:
    """A graph written node by node, with an input `x`; constants are given as arrays."""

    def __init__(self, opset: int = 17, prefix: str = "") -> None:
        self._opset = opset
        self._prefix = prefix
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def op(
        self,
        kind: str,
        *inputs: str | NDArray[Any] | None,
        out: str = "",
        domain: str = "",
        **attrs: Any,
    ) -> str:
        name = out or f"{self._prefix}t{len(self._nodes)}"
        names = [self._name(value) for value in inputs]
        self._nodes.append(
            helper.make_node(kind, names, [name], name=f"{kind}_{name}", domain=domain, **attrs)
        )
        return name

    def ops(self, kind: str, outputs: Sequence[str], *inputs: str, **attrs: Any) -> None:
        self._nodes.append(
            helper.make_node(kind, inputs, outputs, name=f"{kind}_{outputs[0]}", **attrs)
        )

    def _name(self, value: str | NDArray[Any] | None) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        name = f"{self._prefix}c{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def pair(self, x: str, scale: Any, zero: NDArray[Any], out: str = "", **kinds: Any) -> str:
        """x, quantized and dequantized."""
        scale = np.asarray(scale, np.float32)
        codes = self.op("QuantizeLinear", x, scale, zero, **kinds)
        return self.op("DequantizeLinear", codes, scale, zero, out=out, **kinds)

    def model(
        self, shape: Sequence[int], out: Sequence[int] | None, x: str = "float32", y: str = "float32"
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "net",
            [helper.make_tensor_value_info("x", TYPES[x], shape)],
            [helper.make_tensor_value_info("y", TYPES[y], out)],
            self._weights,
        )
        opsets = [helper.make_opsetid("", self._opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
