"""The graph that an OpenVINO compiler gets: fixed shapes, inputs for frames, operators it knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.graph.outputs import OutputFacts
from converter.processes.pure import GRAPH, Pure
from converter.processes.run import Processes
from targets.openvino.parameters import InputParameters

if TYPE_CHECKING:
    import onnx_ir as ir

# OpenVINO 2022.2's ONNX reader takes IR versions up to the one of opset 13.
_IR_VERSION: Final = 7
# A protobuf file is limited to two gigabytes; the graph itself needs a little room.
_ONE_FILE_BYTES: Final = 1_900_000_000


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The prepared model file, its nodes for messages, and what could not be done.

    Attributes:
        nodes: By name of a node or an output, the user's node that it came from: name and operator.
        input_types: NumPy's names of the inputs' types: float32 for frames, int32 for indices.
        outputs: What the source's outputs consist of.
        quantized: Whether the source computes with codes.
    """

    path: Path
    nodes: Mapping[str, tuple[str, str]]
    input_types: Mapping[str, str]
    outputs: Mapping[str, OutputFacts]
    quantized: bool
    warnings: tuple[str, ...]


def prepare(
    source: Path,
    inputs: Sequence[InputParameters],
    target: Path,
    *,
    simplify: bool,
    for_myriad: bool,
    timeout_s: float,
    processes: Processes,
) -> Prepared:
    """Write the model that is compiled, in a child process.

    Args:
        source: The ONNX file, its external data beside it.
        target: The file to write; it must not exist.
        for_myriad: Whether only operators of the MYRIAD compiler may be left, in the opset that its
            ONNX reader takes.

    Raises:
        ModelError: The graph cannot be brought into a form that the compiler reads.
        ToolError: A graph tool crashed or ran out of time.
    """
    arguments = {
        "source": str(source),
        "target": str(target),
        "simplified": simplify,
        "inputs": [item.to_entry() for item in inputs],
        "for_myriad": for_myriad,
    }
    answer = processes.call(
        "targets.openvino.prepare:prepare_file",
        arguments,
        what="The graph tools",
        work=target.parent,
        timeout_s=timeout_s,
        pure=Pure(stage=GRAPH, reads=("source",), writes="target"),
    )
    return Prepared(
        path=target,
        nodes={name: (node, operator) for name, (node, operator) in answer["nodes"].items()},
        input_types=answer["input_types"],
        outputs={name: OutputFacts.from_json(item) for name, item in answer["outputs"].items()},
        quantized=answer["quantized"],
        warnings=tuple(answer["warnings"]),
    )


def prepare_file(
    source: str,
    target: str,
    simplified: bool,
    inputs: Sequence[Mapping[str, Any]],
    for_myriad: bool,
) -> dict[str, Any]:
    """The child's part of `prepare`."""
    import onnx_ir as ir
    from onnx_ir.passes import Sequential, common

    from converter.graph.copies import settle_copies
    from converter.graph.embed import EmbedPreprocessing, entries
    from converter.graph.outputs import output_facts
    from converter.graph.rewrite import Rewrite, forget_origins
    from converter.graph.rules.folding import RULES as FOLDING
    from converter.graph.rules.table import DECOMPOSITIONS, FIRST
    from converter.graph.simplify import infer_shapes, shape_inference
    from converter.graph.single_precision import SinglePrecision
    from converter.graph.source import name_every_node, read_source
    from targets.openvino.myriad_rules import table
    from targets.openvino.myriad_rules.dropped_attributes import dropped_attributes
    from targets.openvino.myriad_rules.float16_weights import keep_weights_in_float16
    from targets.openvino.myriad_rules.lstm import RULES as LSTM
    from targets.openvino.myriad_rules.narrow import widen
    from targets.openvino.myriad_rules.norms import RULES as NORMS
    from targets.openvino.myriad_rules.opset13 import LowerOpset
    from targets.openvino.myriad_rules.scalars import FIRST_RULES, refuse_scalars
    from targets.openvino.myriad_rules.scalars import RULES as SCALARS
    from targets.openvino.myriad_rules.supported import refuse_unsupported, wires_of
    from targets.openvino.myriad_rules.whole_numbers import whole_numbers_as_floats

    shapes = {item["name"]: tuple(item["shape"]) for item in inputs}
    model, warnings, _ = read_source(source, shapes, simplified=simplified)
    name_every_node(model)
    before = wires_of(model)
    model = infer_shapes(model)
    outputs = output_facts(model)
    if for_myriad:
        widen(model, [item["name"] for item in inputs if item["preprocessing"]])
    rules = map(Rewrite, (FOLDING, LSTM, NORMS, *FIRST, DECOMPOSITIONS))
    last = map(Rewrite, (*table.RULES, FIRST_RULES, SCALARS))
    rewrites = (*rules, shape_inference(), *last) if for_myriad else ()
    model = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        SinglePrecision(),
    )(model).model
    model = settle_copies(model)
    if rewrites:
        # A rule may leave nothing but a copy: a Clip of whole numbers without bounds.
        model = settle_copies(Sequential(*rewrites)(model).model)
    dropped = dropped_attributes(model) if for_myriad else {}
    model = Sequential(
        *([LowerOpset()] if for_myriad else []),
        EmbedPreprocessing(entries(inputs)),
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
    )(model).model
    if for_myriad:
        refuse_unsupported(model, before, dropped)
        refuse_scalars(model)
        whole_numbers_as_floats(model)
        keep_weights_in_float16(model)
        model.ir_version = min(model.ir_version, _IR_VERSION)
    name_every_node(model)
    nodes = _nodes(model)
    forget_origins(model.graph)
    # Weights go straight from their files into a separate file: no second copy in memory.
    name = Path(target).name
    ir.save(model, target, external_data=f"{name}.data", size_threshold_bytes=4096)
    return {
        "nodes": nodes,
        "input_types": {
            value.name: value.dtype.numpy().name
            for value in model.graph.inputs
            if value.dtype is not None
        },
        "outputs": {name: facts.to_json() for name, facts in outputs.items()},
        "quantized": _is_quantized(source),
        "warnings": warnings,
    }


def _is_quantized(source: str) -> bool:
    import onnx

    kinds = {node.op_type for node in onnx.load(source, load_external_data=False).graph.node}
    return any("Quantize" in kind or "QLinear" in kind or "Integer" in kind for kind in kinds)


def merge_weights(model: str, target: str) -> None:
    """Write a model with its weights inside, in a child process.

    Raises:
        ModelError: They are too large for one file.
    """
    import onnx

    from converter.errors import ModelError

    proto = onnx.load(model)
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    if weights >= _ONE_FILE_BYTES:
        raise ModelError(
            "The model has two gigabytes or more, too large for a single ONNX file.",
            remedy="Convert with another toolchain.",
        )
    onnx.save(proto, target)


def _nodes(model: ir.Model) -> dict[str, tuple[str, str]]:
    """The user's nodes by node name and by output name: the compiler's messages have either."""
    from converter.graph.rewrite import origin_of

    names: dict[str, tuple[str, str]] = {}
    for node in model.graph:
        names |= {output.name: origin_of(node) for output in node.outputs if output.name}
        names |= {node.name: origin_of(node)} if node.name else {}
    return names
