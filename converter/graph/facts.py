"""The facts in an ONNX file: inputs, outputs, types, shapes, operators, external files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from converter.errors import ArchiveError, ModelError
from converter.graph.foreign import unreadable
from converter.graph.nested import graphs
from converter.graph.sparse import has_sparse

# ONNX TensorProto.DataType -> its name in a config (luxonis_ml.nn_archive DataType).
DTYPES: Final = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "boolean",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    21: "uint4",
    22: "int4",
}


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """A graph input or output; a dimension is a size, a symbol's name, or None if unknown.

    `aliases` are all its names, where the format gives a tensor more than one.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """The signature of a model's graph.

    Attributes:
        opset: The version of the ONNX operator set, of the IR or of the TFLite schema.
        external: The files that hold its weights, as the model names them.
        unused: Inputs that no node reads.
        format: What the file is, `ONNX` and so on (`converter.sources.facts.KINDS`).
        quantized: Inputs and outputs with quantized codes, whose scale is only in the file.
        pixels: By quantized input, the mean and the scale that make its codes of a frame's pixels.
        unnamed: Whether tensors of the file have no names, or edges the same; those here come from
            their places then.
        sparse: Whether some of its constants are sparse.
        unreadable: What no target reads: see `converter.graph.foreign`.
        metadata: What the exporter wrote about itself and the model.
    """

    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    opset: int
    operators: Counter[str]
    external: tuple[str, ...]
    unused: tuple[str, ...]
    format: str = "ONNX"
    quantized: tuple[str, ...] = ()
    pixels: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    unnamed: bool = False
    sparse: bool = False
    unreadable: tuple[tuple[str, str, str], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

    def called(self, inputs: Sequence[str], outputs: Sequence[str]) -> GraphFacts:
        """The same, with each tensor under the name (of its aliases) that a config uses."""
        return replace(
            self,
            inputs=tuple(_called(tensor, inputs) for tensor in self.inputs),
            outputs=tuple(_called(tensor, outputs) for tensor in self.outputs),
        )

    def reshaped(self, shapes: Mapping[str, tuple[int, ...] | None]) -> GraphFacts:
        """The same with other shapes of inputs; what shapes the outputs then have is not known.

        For formats whose reader takes other shapes than the file has.
        """
        inputs = tuple(
            replace(tensor, shape=shape)
            if (shape := shapes.get(tensor.name)) and len(shape) == len(tensor.shape or shape)
            else tensor
            for tensor in self.inputs
        )
        if inputs == self.inputs:
            return self
        outputs = tuple(replace(tensor, shape=None) for tensor in self.outputs)
        return replace(self, inputs=inputs, outputs=outputs)


def _called(tensor: TensorFacts, names: Sequence[str]) -> TensorFacts:
    used = [alias for alias in tensor.aliases if alias in names]
    return replace(tensor, name=used[0]) if used else tensor


def read_facts(path: Path, name: str) -> GraphFacts:
    """Read the signature of an ONNX file; weights in external files are not opened.

    Args:
        path: The file.
        name: What to call it in errors.

    Raises:
        ArchiveError: It is no ONNX model, or one without a graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, TypeError) as error:
        raise ArchiveError(f"{name} is not an ONNX model ({error}).") from error
    graph = model.graph
    if not graph.output:
        raise ArchiveError(f"{name} is not an ONNX model: it has no graph with outputs.")
    weights = {tensor.name for tensor in graph.initializer}
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    opset = opsets.get("ai.onnx", 0)
    if opset > onnx.defs.onnx_opset_version():
        raise ModelError(
            f"{name} is of opset {opset}, newer than the onnx package knows.",
            remedy="Run: pip install --upgrade onnx, or export it with an older opset.",
        )
    external = dict.fromkeys(
        entry.value
        for tensor in _tensors(graph)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    )
    read = _read_names(graph)
    return GraphFacts(
        inputs=tuple(_tensor(value) for value in graph.input if value.name not in weights),
        outputs=tuple(_tensor(value) for value in graph.output),
        opset=opset,
        operators=Counter(node.op_type for node in graph.node),
        external=tuple(external),
        unused=tuple(
            value.name for value in graph.input if value.name not in weights and value.name not in read
        ),
        sparse=has_sparse(graph),
        unreadable=unreadable(model),
        metadata={
            "ir_version": str(model.ir_version),
            "producer": f"{model.producer_name} {model.producer_version}".strip(),
            **{entry.key: entry.value for entry in model.metadata_props},
        },
    )


def _tensors(graph: Any) -> Iterator[Any]:
    """Every stored tensor of a graph, in attributes and subgraphs too."""
    for inner in graphs(graph):
        yield from inner.initializer
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors


def _read_names(graph: Any) -> set[str]:
    names: set[str] = set()
    for inner in graphs(graph):
        names.update(name for node in inner.node for name in node.input)
        names.update(value.name for value in inner.output)
    return names


def _other_type(value: Any) -> str:
    """What a value is that is no tensor of the usual element types."""
    kind = value.type.WhichOneof("value") or ""
    if kind in ("", "tensor_type"):
        number = value.type.tensor_type.elem_type
        return f"onnx type {number}" if number else "undefined"
    return str(kind).removesuffix("_type").replace("_", " ")


def _tensor(value: Any) -> TensorFacts:
    kind = value.type.tensor_type
    shape = None
    if kind.HasField("shape"):
        shape = tuple(
            int(dim.dim_value) if dim.HasField("dim_value")
            else dim.dim_param or None
            for dim in kind.shape.dim
        )  # fmt: skip
    return TensorFacts(
        name=value.name,
        dtype=DTYPES.get(kind.elem_type) or _other_type(value),
        shape=shape,
    )


def external_member(model_path: str, location: str) -> str:
    """The member name of an external data file, which lies relative to its model."""
    return str(PurePosixPath(model_path).parent / location)
