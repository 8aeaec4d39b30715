"""The ONNX file that SNPE's converter gets: fixed shapes, inputs for frames, no other rewrites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.processes.pure import GRAPH, Pure
from converter.processes.run import Processes
from targets.rvc4.snpe.parameters import SnpeParameters

if TYPE_CHECKING:
    import onnx_ir as ir

# A protobuf file is limited to two gigabytes.
_ONE_FILE_BYTES: Final = 1_500_000_000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The written file: the names of its tensors, and warnings about what could not be done."""

    tensors: frozenset[str]
    warnings: tuple[str, ...]


def prepare(
    source: Path, parameters: SnpeParameters, target: Path, *, processes: Processes
) -> Prepared:
    """Write the file, in a child process.

    Args:
        source: The ONNX file, its external data beside it.
        target: The file to write; it must not exist.

    Raises:
        ModelError: The graph cannot be brought into the form that the tools take.
        ToolError: A graph tool crashed or ran out of time.
    """
    answer = processes.call(
        "targets.rvc4.snpe.prepare:prepare_file",
        {
            "source": str(source),
            "target": str(target),
            "simplified": parameters.simplify,
            # Frames enter in the model's layout: SNPE's converter makes NHWC of NCHW.
            "inputs": [{**item.to_entry(), "layout": item.model_layout} for item in parameters.inputs],
            "images": [item.name for item in parameters.inputs if item.dai_type],
            "weight_bits": 0 if parameters.precision.is_float else parameters.precision.weights,
            "per_channel": parameters.per_channel,
            "encoded": list(parameters.encodings.weights) if parameters.encodings else [],
        },
        what="The graph tools",
        work=target.parent,
        timeout_s=parameters.timeout_s,
        pure=Pure(stage=GRAPH, reads=("source",), writes="target"),
    )
    return Prepared(tensors=frozenset(answer["tensors"]), warnings=tuple(answer["warnings"]))


def prepare_file(
    source: str,
    target: str,
    simplified: bool,
    inputs: Sequence[Mapping[str, Any]],
    images: Sequence[str],
    weight_bits: int,
    per_channel: bool,
    encoded: Sequence[str],
) -> dict[str, Any]:
    """The child's part of `prepare`."""
    import onnx_ir as ir
    from onnx_ir.passes import Sequential, common

    from converter.graph.embed import EmbedPreprocessing, entries
    from converter.graph.simplify import infer_shapes
    from converter.graph.single_precision import SinglePrecision
    from converter.graph.source import name_every_node, read_source
    from targets.rvc4.prepare import folding

    shapes = {item["name"]: tuple(item["shape"]) for item in inputs}
    model, warnings, _ = read_source(source, shapes, simplified=simplified)
    model = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        SinglePrecision(),
        EmbedPreprocessing(entries(inputs), folding(weight_bits, per_channel, encoded)),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )(infer_shapes(model)).model
    for value in model.graph.inputs:
        if value.name in images and value.dtype == ir.DataType.UINT8:
            _take_float(model.graph, value)
    name_every_node(model)
    weights = sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value)
    if weights < _ONE_FILE_BYTES:
        ir.save(model, target)
    else:
        ir.save(model, target, external_data=f"{Path(target).name}.data")
    values = (value for node in model.graph for value in node.outputs)
    return {
        "tensors": [
            *(value.name for value in (*model.graph.inputs, *values) if value.name),
            *model.graph.initializers,
        ],
        "warnings": warnings,
    }


def _take_float(graph: ir.Graph, value: ir.Value) -> None:
    """Let frames come in as float32, as all of SNPE's files are."""
    import onnx_ir as ir

    from converter.graph.rewrite import Builder

    users = list(value.uses())
    b = Builder(graph, f"{value.name}/bytes")
    x = b.op("Cast", value, to=int(ir.DataType.UINT8))
    x.dtype, x.shape = ir.DataType.UINT8, value.shape
    value.dtype = ir.DataType.FLOAT
    for node, index in users:
        node.replace_input_with(index, x)
    graph.insert_before(graph[0], b.nodes)
