"""An ONNX file with inputs of other shapes, and without those that are always the same.

This edits the file's message (onnx.ModelProto), so that the source's own runtime runs what is
converted; weights in external files are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from converter.errors import ModelError, from_findings
from converter.findings import Finding
from converter.graph.nested import graphs

# What ONNX's shape inference says of a node that does not fit.
_SAID: Final = re.compile(r"\(op_type:(\w+)(?:, node name: ([^)]*))?\): \[\w+\] (.*)")
_REMEDY: Final = "Export the model for this shape, or with dynamic axes."


def freeze_inputs(model: Any, values: Mapping[str, NDArray[Any]]) -> None:
    """Make inputs constants, in place.

    Args:
        values: An array of the input's shape and dtype for each input that leaves.
    """
    import onnx

    graph = model.graph
    kept = [value for value in graph.input if value.name not in values]
    del graph.input[:]
    graph.input.extend(kept)
    for name, array in values.items():
        tensor = onnx.numpy_helper.from_array(array, name)
        node = onnx.helper.make_node("Constant", [], [name], name=f"{name}/frozen", value=tensor)
        graph.node.insert(0, node)


def number_inputs(model: Any, names: Sequence[str]) -> None:
    """Let boolean inputs take numbers, in place: more than a half is true.

    Compilers for cameras take no boolean inputs.
    """
    import onnx

    graph = model.graph
    for name in names:
        inner = f"{name}/boolean"
        for inside in graphs(graph):
            for node in inside.node:
                node.input[:] = [inner if given == name else given for given in node.input]
        for value in graph.input:
            if value.name == name:
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        half = onnx.numpy_helper.from_array(np.asarray(0.5, np.float32), f"{name}/half")
        constant = onnx.helper.make_node("Constant", [], [half.name], name=half.name, value=half)
        greater = onnx.helper.make_node("Greater", [name, half.name], [inner], name=f"{name}/is_true")
        graph.node.insert(0, constant)
        graph.node.insert(1, greater)


def reshape_inputs(model: Any, shapes: Mapping[str, Sequence[int]]) -> None:
    """Give inputs other shapes, in place; the outputs get the shapes that follow.

    Raises:
        ModelError: A node holds on to the old shape; it names every such node.
    """
    import onnx

    before = _inferred(model)
    old = {value.name: _sizes(value) for value in (before or model).graph.output}
    batches = {value.name: _sizes(value) for value in model.graph.input}
    for value in model.graph.input:
        if value.name in shapes:
            new = onnx.helper.make_tensor_value_info(
                value.name, value.type.tensor_type.elem_type, list(shapes[value.name])
            )
            value.CopyFrom(new)
    for graph in graphs(model.graph):
        del graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    if before is None:
        return  # onnx cannot infer the shapes of this model, so it cannot judge the new ones
    after = _inferred(model, asked=shapes)
    assert after is not None
    findings = [*_fixed_reshapes(after), *_fixed_batches(after, batches, old, shapes)]
    if findings:
        raise from_findings(ModelError, f"The shape {_asked(shapes)}", findings)
    inferred = {value.name: value for value in after.graph.output}
    for value in model.graph.output:
        value.CopyFrom(inferred[value.name])
        if value.type.tensor_type.HasField("shape"):
            for size in value.type.tensor_type.shape.dim:
                if not size.HasField("dim_value") and not size.dim_param:
                    size.dim_param = "unknown"


def _inferred(model: Any, asked: Mapping[str, Sequence[int]] | None = None) -> Any:
    """The model with inferred shapes; None if it has none.

    Raises:
        ModelError: A node does not take the shapes that were asked for.
    """
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        if asked is None:
            return None
        found = _SAID.search(" ".join(str(error).split()))
        kind, name, said = found.groups() if found else ("", "", str(error).splitlines()[-1])
        where = f"node {name or kind!r} ({kind})" if kind else "the model"
        raise ModelError(
            f"The shape {_asked(asked)} does not fit {where}: {said.strip().rstrip('.')[:200]}.",
            remedy=_REMEDY,
        ) from error


def _fixed_reshapes(model: Any) -> Iterator[Finding]:
    """Reshapes to a constant shape that the elements no longer fill."""
    import onnx

    graph = model.graph
    sizes = {value.name: _sizes(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        given, target = sizes.get(node.input[0]), constants[node.input[1]]
        if given is None or not all(given) or target.data_location == onnx.TensorProto.EXTERNAL:
            continue
        wanted = [int(size) for size in onnx.numpy_helper.to_array(target).reshape(-1)]
        sizes_now = [size or 1 for size in given]
        filled = [
            sizes_now[k] if size == 0 and k < len(given) else size for k, size in enumerate(wanted)
        ]
        rest = int(np.prod([size for size in filled if size != -1] or [1]))
        elements = int(np.prod(sizes_now))
        fits = elements % rest == 0 if -1 in filled and rest else elements == rest
        if not fits:
            yield Finding(
                code="model.fixed-shape",
                where=f"node {node.name or node.output[0]!r} (Reshape)",
                message=f"makes {wanted} of what is {list(given)} then: it holds on to the old shape.",
                remedy=_REMEDY,
            )


def _fixed_batches(
    model: Any,
    inputs: Mapping[str, Sequence[int | None] | None],
    outputs: Mapping[str, Sequence[int | None] | None],
    shapes: Mapping[str, Sequence[int]],
) -> Iterator[Finding]:
    """Outputs that keep the old batch although the input has another one."""
    for name, shape in shapes.items():
        before = inputs.get(name)
        if not shape or not before or before[0] in (None, shape[0], 1):
            continue
        for value in model.graph.output:
            old, new = outputs.get(value.name), _sizes(value)
            if old and new and old[0] == before[0] == new[0]:
                yield Finding(
                    code="model.fixed-shape",
                    where=value.name,
                    message=f"this output has a batch of {new[0]} even if {name!r} has one of "
                    f"{shape[0]}: a node of the model holds on to the old shape.",
                    remedy=_REMEDY,
                )


def _asked(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{list(shape)} of {name!r}" for name, shape in shapes.items())


def _sizes(value: Any) -> list[int | None] | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return [int(d.dim_value) if d.HasField("dim_value") else None for d in kind.shape.dim]
