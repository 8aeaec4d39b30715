"""A TFLite file with what conversions need: names, float edges, constants for frozen inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from numpy.typing import NDArray

# schema.fbs: enum BuiltinOperator, enum TensorType.
_DEQUANTIZE: Final = 6
_QUANTIZE: Final = 114
_FLOAT32: Final = 0


def edit(data: bytes, frozen: Mapping[str, NDArray[Any]]) -> bytes:
    """Write a TFLite model again, so that every tensor has a name and the edges are float32.

    Quantized inputs and outputs stay what they are inside; an operator at each edge goes from or to the
    real numbers (QUANTIZE, DEQUANTIZE).

    Args:
        frozen: By name, an array of the input's shape and dtype for each input that becomes a constant;
            a quantized one takes real numbers.
    """
    import flatbuffers  # type: ignore[import-untyped]
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    _name(graph)
    _float_edges(schema, model, graph)
    names = {graph.tensors[index].name.decode(): index for index in graph.inputs}
    for name, array in frozen.items():
        tensor = graph.tensors[names[name]]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
        tensor.shape, tensor.shapeSignature = list(array.shape), None
    gone = {names[name] for name in frozen}
    graph.inputs = [index for index in graph.inputs if index not in gone]
    model.signatureDefs = None  # they name the edges, which may be others now
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def names_of(names: Sequence[bytes | None], inputs: Sequence[int], outputs: Sequence[int]) -> list[str]:
    """The tensors' names; one after its place for a tensor without, and for an edge of another's name.

    TFLite's own runtime goes by places alone.
    """
    found = [name.decode() if name else "" for name in names]
    places = {index: f"output_{place}" for place, index in reversed([*enumerate(outputs)])}
    places |= {index: f"input_{place}" for place, index in reversed([*enumerate(inputs)])}
    taken: set[str] = set()
    for index in dict.fromkeys((*inputs, *outputs)):
        if not found[index] or found[index] in taken:
            found[index] = places[index]
        taken.add(found[index])
    return [name or f"tensor_{index}" for index, name in enumerate(found)]


def _name(graph: Any) -> None:
    names = names_of([item.name for item in graph.tensors], list(graph.inputs), list(graph.outputs))
    for tensor, name in zip(graph.tensors, names, strict=True):
        tensor.name = name.encode()


def _float_edges(schema: Any, model: Any, graph: Any) -> None:
    """Put QUANTIZE behind quantized inputs and DEQUANTIZE before quantized outputs."""
    inputs, outputs = list(graph.inputs), list(graph.outputs)
    for place, index in enumerate(inputs):
        if is_quantized(graph.tensors[index]):
            edge = _edge(schema, graph, index)
            graph.operators.insert(0, _operator(schema, model, _QUANTIZE, edge, index))
            inputs[place] = edge
    for place, index in enumerate(outputs):
        if is_quantized(graph.tensors[index]):
            edge = _edge(schema, graph, index)
            graph.operators.append(_operator(schema, model, _DEQUANTIZE, index, edge))
            outputs[place] = edge
    graph.inputs, graph.outputs = inputs, outputs


def is_quantized(tensor: Any) -> bool:
    """Whether a tensor (of the schema's object API) holds codes of a grid."""
    grid = tensor.quantization
    scales = None if grid is None else grid.scale
    return tensor.type != _FLOAT32 and scales is not None and len(scales) > 0


def _edge(schema: Any, graph: Any, index: int) -> int:
    """A float tensor with the name and the shape of a quantized one, which gets another name."""
    inner = graph.tensors[index]
    outer = schema.TensorT()
    outer.name, outer.type, outer.buffer = inner.name, _FLOAT32, 0
    outer.shape, outer.shapeSignature = inner.shape, inner.shapeSignature
    outer.hasRank = inner.hasRank
    inner.name = inner.name + b"/codes"
    graph.tensors.append(outer)
    return len(graph.tensors) - 1


def _operator(schema: Any, model: Any, kind: int, source: int, target: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = kind, kind, 2
    model.operatorCodes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = [source], [target]
    return operator


def end_at(data: bytes, outputs: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """A TFLite model whose outputs are other tensors; operators that they do not need go.

    Args:
        outputs: By the name that each gets, a tensor's name.

    Returns:
        The model, and the names that no tensor has; the model is not changed if there are any.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    graph = model.subgraphs[0]
    _name(graph)
    made = {int(index) for node in graph.operators for index in node.outputs} | set(graph.inputs)
    places = {graph.tensors[index].name.decode(): index for index in sorted(made)}
    if missing := [name for name in outputs.values() if name not in places]:
        return data, missing
    graph.outputs = [places[tensor] for tensor in outputs.values()]
    wanted = set(graph.outputs)
    kept = []
    for node in reversed(graph.operators):
        if wanted & {int(index) for index in node.outputs}:
            kept.append(node)
            wanted |= {int(index) for index in node.inputs}
    graph.operators = kept[::-1]
    graph.inputs = [index for index in graph.inputs if index in wanted]
    for name, tensor in outputs.items():
        graph.tensors[places[tensor]].name = name.encode()
    model.signatureDefs = None
    builder = flatbuffers.Builder(len(data) + 1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), []
