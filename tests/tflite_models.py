"""Small TFLite models, written with the schema's object API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

FLOAT32 = 0


class Lite:
    """A TFLite graph, written operator by operator; -1 leaves an input out."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.model.description = b"made by hand"
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        values: NDArray[Any] | None = None,
        kind: int = FLOAT32,
        *,
        variable: bool = False,
    ) -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type = name.encode() or None, list(shape), kind
        tensor.buffer, tensor.isVariable = 0, variable
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def op(
        self,
        kind: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any = None,
        union: int = 0,
        custom: str = "",
    ) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, min(kind, 127), 1
        code.customCode = custom.encode() or None
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        operator.builtinOptions, operator.builtinOptionsType = options, union
        self.graph.operators.append(operator)

    def data(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def lstm(*, time_major: bool = False, steps: int = 5, names: bool = True) -> bytes:
    """UNIDIRECTIONAL_SEQUENCE_LSTM whose states are variable tensors, as Keras' LSTM becomes."""
    rng = np.random.default_rng(3)
    net, size, width = Lite(), 4, 3
    shape = [steps, 1, width] if time_major else [1, steps, width]
    x = net.tensor("x" if names else "", shape)

    def weights(*dims: int) -> int:
        values = rng.normal(0, 0.6, dims).astype(np.float32)
        return net.tensor(f"w{len(net.graph.tensors)}" if names else "", dims, values)

    inputs = [x, *(weights(size, width) for _ in range(4)), *(weights(size, size) for _ in range(4))]
    inputs += [-1, -1, -1, *(weights(size) for _ in range(4)), -1, -1]
    inputs += [
        net.tensor("h" if names else "", [1, size], variable=True),
        net.tensor("c" if names else "", [1, size], variable=True),
    ]
    inputs += [-1] * 4
    y = net.tensor("y" if names else "", [*shape[:2], size])
    options = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction, options.timeMajor = 4, time_major
    net.op(44, inputs, [y], options, schema.BuiltinOptions.UnidirectionalSequenceLSTMOptions)
    net.graph.inputs, net.graph.outputs = [x], [y]
    return net.data()
