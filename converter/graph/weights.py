"""The weights of an ONNX file, read one at a time, and hashes of what the graph computes from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converter.errors import ArchiveError, disk_error
from converter.formats import Part
from converter.graph.facts import DTYPES

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A graph and its stored tensors, which stay in files until one is read.

    Attributes:
        parts: The initializers, and the tensors of `Constant` nodes under their outputs' names.
        model: The graph itself, as onnx-ir has it.
    """

    parts: tuple[Part, ...]
    model: ir.Model

    def computed(self, labels: Mapping[str, str]) -> dict[str, str]:
        """For each output a hash of its computation, without names of nodes and values.

        Args:
            labels: The label to hash for each stored tensor, instead of its values.
        """
        graph = self.model.graph
        known: dict[ir.Value, str] = {value: f"input {value.name}" for value in graph.inputs}
        for value, _ in _stored(graph):
            known[value] = f"weights {labels[value.name or '']}"
        found = dict(
            zip((value.name or "" for value in graph.outputs), _computed(graph, known), strict=True)
        )
        for function in self.model.functions.values():
            own: dict[ir.Value, str] = {}
            found[f"function {function.domain}::{function.name}"] = _hash(*_computed(function, own))
        return found


def read_weights(path: Path, name: str, scratch: Path) -> Graph:
    """Read an ONNX file; its weights go to `scratch`, so that two models never are in memory at once.

    Args:
        path: The file, its external data beside it; the caller has checked that it exists.
        name: What to call it in errors.
        scratch: An empty folder, which must live as long as the result is used.

    Raises:
        ArchiveError: The file is damaged.
        ToolError: The disk is full.
    """
    import onnx_ir as ir

    try:
        model = ir.load(path)
        stored = list(_stored(model.graph))
        for value, tensor in stored:
            _check_size(value.name or "", tensor)
        inside = [
            (holder, tensor)
            for holder, (_, tensor) in enumerate(stored)
            if not isinstance(tensor, ir.ExternalTensor) and tensor.dtype != ir.DataType.STRING
        ]
        moved = dict(
            zip(
                (holder for holder, _ in inside),
                ir.external_data.convert_tensors_to_external(
                    [tensor for _, tensor in inside], scratch, "weights"
                ),
                strict=True,
            )
        )
        parts = []
        for holder, (value, tensor) in enumerate(stored):
            there = moved.get(holder, tensor)
            _put(value, there)
            parts.append(_part(value.name or "", there))
    except OSError as error:
        raise disk_error(error, "laying weights out for the comparison") from error
    except Exception as error:  # whatever protobuf, onnx or the file system say of a broken file
        said = " ".join(str(error).split())[:300]
        raise ArchiveError(f"{name} is damaged: {said}.") from error
    return Graph(parts=tuple(parts), model=model)


def _stored(graph: Any) -> list[tuple[ir.Value, ir.TensorProtocol]]:
    """Every initializer and constant of the outermost graph."""
    found = [
        (value, value.const_value)
        for value in graph.initializers.values()
        if value.const_value is not None
    ]
    found += [
        (node.outputs[0], attribute.as_tensor())
        for node in graph
        if (attribute := _constant(node)) is not None
    ]
    return found


def _constant(node: ir.Node) -> ir.Attr | None:
    import onnx_ir as ir

    attribute = node.attributes.get("value") if node.op_type == "Constant" else None
    return attribute if attribute is not None and attribute.type == ir.AttributeType.TENSOR else None


def _check_size(name: str, tensor: ir.TensorProtocol) -> None:
    """Check that a tensor has the bytes that its type and shape need: onnx-ir reads beyond its end."""
    import onnx_ir as ir

    if tensor.dtype == ir.DataType.STRING:
        return
    if isinstance(tensor, ir.ExternalTensor):
        size = tensor.nbytes if tensor.length is None else tensor.length
    else:
        size = len(tensor.tobytes())
    if size != tensor.nbytes:
        raise ValueError(f"{name!r} has {size:,} bytes, its type and shape need {tensor.nbytes:,}")


def _put(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    import onnx_ir as ir

    node = value.producer()
    if node is None:
        value.const_value = tensor
    else:
        node.attributes["value"] = ir.AttrTensor("value", tensor)


def _part(name: str, tensor: ir.TensorProtocol) -> Part:
    import onnx_ir as ir

    def read() -> NDArray[Any]:
        values = tensor.numpy()
        if isinstance(tensor, ir.ExternalTensor):
            values = values.copy()
            tensor.release()
        return values

    return Part(
        name=name,
        dtype=DTYPES.get(int(tensor.dtype), tensor.dtype.name.lower()),
        shape=tuple(int(size) for size in tensor.shape.numpy()),
        read=read,
    )


def _computed(graph: Any, known: dict[ir.Value, str]) -> list[str]:
    """How each output of a graph is computed; `known` are the values that come from outside."""
    for index, value in enumerate(graph.inputs):
        known.setdefault(value, f"argument {index}")
    for value in getattr(graph, "initializers", {}).values():
        if value not in known and value.const_value is not None:
            known[value] = _tensor(value.const_value)
    for node in graph:
        if all(value in known for value in node.outputs):
            continue
        what = _hash(
            *(node.domain, node.op_type, node.overload),
            *("" if value is None else known.get(value, "nothing") for value in node.inputs),
            "attributes",
            *(f"{key}={_attribute(attr, known)}" for key, attr in sorted(node.attributes.items())),
        )
        for index, value in enumerate(node.outputs):
            known[value] = f"{what} {index}"
    return [_hash(known.get(value, "nothing")) for value in graph.outputs]


def _attribute(attribute: ir.Attr, known: Mapping[ir.Value, str]) -> str:
    import onnx_ir as ir

    kind, value = attribute.type, attribute.value
    if kind == ir.AttributeType.TENSOR:
        return _tensor(value)
    if kind == ir.AttributeType.GRAPH:
        return _hash(*_computed(value, dict(known)))
    if kind == ir.AttributeType.GRAPHS:
        return _hash(*(_hash(*_computed(graph, dict(known))) for graph in value))
    return f"{kind} {attribute.ref_attr_name} {value!r}"


def _tensor(tensor: ir.TensorProtocol) -> str:
    import onnx_ir as ir

    content = tensor.numpy().tolist() if tensor.dtype == ir.DataType.STRING else tensor.tobytes()
    return _hash(tensor.dtype.name, repr(tensor.shape), repr(content))


def _hash(*words: str) -> str:
    digest = hashlib.sha256()
    for word in words:
        data = word.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]
