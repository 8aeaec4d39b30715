"""The signature of a TFLite model, out of its flatbuffer.

The format: https://ai.google.dev/edge/litert, `schema.fbs`; LiteRT's own package has the reader.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError, ModelError, ToolchainError
from converter.graph.facts import GraphFacts, TensorFacts
from converter.sources.tflite_edit import edit, names_of
from converter.sources.tflite_operators import operators_of, unreadable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_IDENTIFIER: Final = b"TFL3"
# What the reader raises where a file is damaged.
_DAMAGED: Final = (struct.error, IndexError, TypeError, ValueError, AttributeError)
_MAX_BYTES: Final = 2 << 30  # a flatbuffer's own limit
# schema.fbs, enum TensorType.
_DTYPES: Final = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 5: "string", 6: "boolean",
    7: "int16", 9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16", 17: "int4",
}  # fmt: skip


def missing(error: Exception) -> ToolchainError:
    """The error if the package is not installed."""
    return ToolchainError(
        f"TFLite models are read with the package ai-edge-litert, which does not load ({error}).",
        remedy="Run: pip install 'nnarchive-converter[tflite]'",
    )


def read_facts(path: Path, name: str) -> GraphFacts:
    """Read the signature of a TFLite file: its first subgraph.

    Raises:
        ArchiveError: It is no TFLite model, or a damaged one.
        ModelError: It has several subgraphs, for control flow.
        ToolchainError: The package that reads it is not installed.
    """
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise missing(error) from error
    if path.stat().st_size > _MAX_BYTES:
        raise ArchiveError(f"{name} is larger than {_MAX_BYTES:,} bytes, too large for TFLite.")
    data = path.read_bytes()
    if data[4:8] != _IDENTIFIER:
        raise ArchiveError(f"{name} is not a TFLite model: it does not begin like one.")
    try:
        model = schema.Model.GetRootAs(data, 0)
        own, custom = operators_of(schema, model)
        # Of several graphs the others are branches and loops, or set variables: their operators say so.
        if model.SubgraphsLength() == 1 or any(unreadable(own, custom)):
            return _graph(schema, model)
    except _DAMAGED as error:
        raise ArchiveError(f"{name} is a damaged TFLite model ({error}).") from error
    if model.SubgraphsLength() == 0:
        raise ArchiveError(f"{name} is not a TFLite model: it has no graph.")
    raise ModelError(
        f"{name} has {model.SubgraphsLength()} subgraphs: a camera's accelerator runs no control flow.",
        remedy="Export the model without branches and loops.",
    )


def edited(data: bytes, name: str, frozen: Mapping[str, NDArray[Any]]) -> bytes:
    """What `converter.sources.tflite_edit.edit` makes of a TFLite file.

    Raises:
        ArchiveError: It is damaged.
    """
    try:
        return edit(data, frozen)
    except _DAMAGED as error:
        raise ArchiveError(f"{name} is a damaged TFLite model ({error}).") from error


def _graph(schema: Any, model: Any) -> GraphFacts:
    graph = model.Subgraphs(0)
    own, custom = operators_of(schema, model)
    read: set[int] = set()
    for index in range(graph.OperatorsLength()):
        node = graph.Operators(index)
        read |= {node.Inputs(k) for k in range(node.InputsLength())}
    inputs = [graph.Inputs(k) for k in range(graph.InputsLength())]
    outputs = [graph.Outputs(k) for k in range(graph.OutputsLength())]
    if not outputs:
        raise ValueError("it has no outputs")
    own_names = [graph.Tensors(k).Name() for k in range(graph.TensorsLength())]
    names = names_of(own_names, inputs, outputs)
    tensors = {index: _tensor(graph.Tensors(index), names[index]) for index in (*inputs, *outputs)}
    quantized = [k for k in (*inputs, *outputs) if _is_quantized(graph.Tensors(k), tensors[k].dtype)]
    return GraphFacts(
        inputs=tuple(tensors[index] for index in inputs),
        outputs=tuple(tensors[index] for index in outputs),
        opset=model.Version(),
        operators=own + custom,
        unreadable=tuple(unreadable(own, custom)),
        external=(),
        unused=tuple(tensors[k].name for k in inputs if k not in read and k not in outputs),
        format="TFLite",
        quantized=tuple(tensors[k].name for k in quantized),
        pixels={
            tensors[k].name: _pixels(graph.Tensors(k), tensors[k].dtype)
            for k in quantized
            if k in inputs
        },
        unnamed=[(name or b"").decode() for name in own_names] != names,
    )


def _is_quantized(tensor: Any, dtype: str) -> bool:
    parameters = tensor.Quantization()
    return not dtype.startswith("float") and parameters is not None and parameters.ScaleLength() > 0


def _pixels(tensor: Any, dtype: str) -> tuple[float, float]:
    """Mean and scale with which a pixel p becomes the code p, or p - 128 of int8.

    The code stands for (code - zero point) * s: mean is the zero point (+ 128), scale 1 / s.
    """
    grid = tensor.Quantization()
    zero = grid.ZeroPoint(0) if grid.ZeroPointLength() else 0
    step = float(grid.Scale(0))
    return float(zero + 128 * (dtype == "int8")), 1 / step if step else 1.0


def _tensor(tensor: Any, name: str) -> TensorFacts:
    count = tensor.ShapeSignatureLength()
    sizes = (
        [tensor.ShapeSignature(k) for k in range(count)]
        if count
        else [tensor.Shape(k) for k in range(tensor.ShapeLength())]
    )
    kind = tensor.Type()
    return TensorFacts(
        name=name,
        dtype=_DTYPES.get(kind, f"TFLite type {kind}"),
        shape=tuple(int(size) if size >= 0 else None for size in sizes),
    )
