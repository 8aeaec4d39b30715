"""The graph that the RVC2 compiler gets: fixed shapes, frames in, and only operators it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ArchiveError, ModelError
from converter.preprocessing import Preprocessing
from converter.process import Processes
from targets.rvc2.parameters import InputParameters, Parameters

if TYPE_CHECKING:
    import onnx_ir as ir

# OpenVINO 2022.2's ONNX reader takes IR versions up to the one of opset 13.
_IR_VERSION: Final = 7


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The prepared model file, its operators for messages, and what could not be done.

    `input_types` are NumPy's names of what the graph takes: float32 for frames, int32 for indices.
    """

    path: Path
    nodes: Mapping[str, str]
    input_types: Mapping[str, str]
    warnings: tuple[str, ...]


def prepare(source: Path, parameters: Parameters, target: Path, *, processes: Processes) -> Prepared:
    """Write the model that is compiled, in a child process.

    Args:
        source: The ONNX file, its external data beside it.
        target: Where to write; a file that does not exist.

    Raises:
        ModelError: The graph cannot be brought into a form that the compiler reads.
        ToolError: A graph tool crashed or ran out of time.
    """
    arguments = {
        "source": str(source),
        "target": str(target),
        "simplified": parameters.simplify,
        "inputs": [_entry(item) for item in parameters.inputs],
    }
    answer = processes.call(
        "targets.rvc2.prepare:prepare_file",
        arguments,
        what="The graph tools",
        work=target.parent,
        timeout_s=parameters.compile_timeout_s,
    )
    return Prepared(
        path=target,
        nodes=answer["nodes"],
        input_types=answer["input_types"],
        warnings=tuple(answer["warnings"]),
    )


def _entry(item: InputParameters) -> dict[str, Any]:
    assert item.shape is not None
    return {
        "name": item.name,
        "shape": [item.shape[item.layout.index(axis)] for axis in item.model_layout],
        # "NHWC" is set at the compiler, on a network that is NCHW.
        "layout": item.layout if not item.compiler_layout else "NCHW",
        "model_layout": item.model_layout,
        "preprocessing": item.embedded.to_json() if item.embedded else None,
    }


def prepare_file(
    source: str, target: str, simplified: bool, inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The child's part of `prepare`."""
    import onnx
    import onnx_ir as ir
    from onnx_ir.passes import Sequential, common

    from converter.graph.decompose import RULES as DECOMPOSITIONS
    from converter.graph.embed import EmbedPreprocessing, Entry
    from converter.graph.freeze import FreezeShapes
    from converter.graph.opset import LowerOpset, SinglePrecision, raise_opset
    from converter.graph.recurrent import RULES as RECURRENT
    from converter.graph.rewrite import Rewrite
    from converter.graph.simplify import infer_shapes, simplify

    warnings: list[str] = []
    try:
        model = ir.from_proto(onnx.load(source))
    except Exception as error:  # whatever protobuf, onnx or the file system say of a broken file
        said = " ".join(str(error).split())[:300]
        raise ArchiveError(f"The model file or its external data is damaged: {said}.") from error
    model = common.InlinePass()(model).model
    _refuse_unknown_domains(model)
    model = raise_opset(model)
    model = FreezeShapes({item["name"]: tuple(item["shape"]) for item in inputs})(model).model
    _part_equal_outputs(model)
    if simplified:
        model, problem = simplify(model)
        if problem:
            warnings.append(f"{problem}.")
    _refuse_control_flow(model)
    entries = {
        item["name"]: Entry(
            layout=item["layout"],
            model_layout=item["model_layout"],
            preprocessing=Preprocessing.from_json(item["preprocessing"])
            if item["preprocessing"]
            else None,
        )
        for item in inputs
    }
    model = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        SinglePrecision(),
        Rewrite(RECURRENT),
        Rewrite(DECOMPOSITIONS),
        LowerOpset(),
        EmbedPreprocessing(entries),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )(infer_shapes(model)).model
    model.ir_version = min(model.ir_version, _IR_VERSION)
    _name_everything(model)
    # Weights go into a file of their own, straight from where they are: no second copy in memory.
    name = Path(target).name
    ir.save(model, target, external_data=f"{name}.data", size_threshold_bytes=4096)
    return {
        "nodes": _operators(model),
        "input_types": {
            value.name: value.dtype.numpy().name
            for value in model.graph.inputs
            if value.dtype is not None
        },
        "warnings": warnings,
    }


def _refuse_unknown_domains(model: ir.Model) -> None:
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in model.graph if node.domain})
    foreign = [name for name in foreign if not name.startswith("ai.onnx.")]
    if foreign:
        raise ModelError(
            f"The model uses operators that are not ONNX's own: {', '.join(foreign)}.",
            remedy="Export it without them.",
        )


def _refuse_control_flow(model: ir.Model) -> None:
    import onnx_ir as ir

    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    for node in model.graph:
        if any(attribute.type in kinds for attribute in node.attributes.values()):
            raise ModelError(
                f"node {node.name or node.op_type!r} ({node.op_type}): Myriad X runs no control flow.",
                remedy="Export the model with fixed shapes and without branches and loops.",
            )


def _part_equal_outputs(model: ir.Model) -> None:
    """Outputs that are copies of an input or of each other: the compiler would keep one name only.

    A multiplication by one keeps them apart; it removes a reshape that changes nothing.
    """
    from converter.graph.rewrite import Builder, replace

    graph = model.graph
    for node in list(graph):
        value = node.inputs[0] if node.op_type == "Identity" else None
        if value is None or not node.outputs[0].is_graph_output():
            continue
        if value.is_graph_input() or value.is_graph_output():
            builder = Builder(graph, node.name or "output")
            one = builder.constant(1, value.dtype.numpy() if value.dtype else "float32")
            replace(graph, node, builder, [builder.op("Mul", value, one)])


def _operators(model: ir.Model) -> dict[str, str]:
    """Operator types by node name and by output name: the compiler's messages have either."""
    names: dict[str, str] = {}
    for node in model.graph:
        names |= {output.name: node.op_type for output in node.outputs if output.name}
        names |= {node.name: node.op_type} if node.name else {}
    return names


def _name_everything(model: ir.Model) -> None:
    """Every node gets a name: the compiler's messages are about names."""
    taken = {node.name for node in model.graph}
    for index, node in enumerate(model.graph):
        if not node.name:
            name = f"{node.op_type}_{index}"
            node.name = name if name not in taken else f"{name}_"
