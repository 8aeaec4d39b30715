"""The graph that is quantized for RVC4: fixed shapes, frames in, and only operators that QNN takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from converter.errors import ModelError, from_findings
from converter.findings import Finding, Severity
from converter.graph.outputs import OutputFacts
from converter.processes.pure import GRAPH, Pure
from converter.processes.run import Processes
from targets.rvc4.parameters import Parameters

if TYPE_CHECKING:
    import onnx_ir as ir

# QNN's execution provider takes nothing of a graph older than opset 11, and splits many below 17.
_OPSET: Final = 17
# How the quantizer ends the names of what it adds.
_TAKEN: Final = (
    "_scale",
    "_zero_point",
    "_quantized",
    "_convert",
    "_QuantizeLinear_Input",
    "_QuantizeLinear_Output",
    "_DequantizeLinear_Output",
)
_MULTIPLIED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


_OTHER_INTEGERS: Final = ("INT64", "INT8", "UINT8", "INT16", "UINT16")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The prepared float model, which takes camera frames as float32, and what could not be done.

    Attributes:
        grids: Encodings of a quantized source's tensors, by name (`source_grids`).
        outputs: What the source's outputs consist of.
    """

    path: Path
    warnings: tuple[str, ...]
    grids: Mapping[str, Any]
    outputs: Mapping[str, OutputFacts]


def prepare(source: Path, parameters: Parameters, target: Path, *, processes: Processes) -> Prepared:
    """Write the float model that is quantized, in a child process.

    Args:
        source: The ONNX file, its external data beside it.
        target: Where to write; a file that does not exist.

    Raises:
        ModelError: The graph cannot be brought into the form that the tools take.
        ToolError: A graph tool crashed or ran out of time.
    """
    answer = processes.call(
        "targets.rvc4.prepare:prepare_file",
        {
            "source": str(source),
            "target": str(target),
            "simplified": parameters.simplify,
            "inputs": [item.to_entry() for item in parameters.inputs],
            "weight_bits": 0 if parameters.precision.is_float else parameters.precision.weights,
            "activation_bits": parameters.precision.activations,
            "per_channel": parameters.per_channel,
            "encoded": list(parameters.encodings.weights) if parameters.encodings else [],
            # Given encodings are of the tensors as they were exported.
            "folds": parameters.encodings is None,
        },
        what="The graph tools",
        work=target.parent,
        timeout_s=parameters.timeout_s,
        pure=Pure(stage=GRAPH, reads=("source",), writes="target"),
    )
    if answer["pools"]:
        _require_shapes(parameters, answer["shapes"], answer["pools"])
    return Prepared(
        path=target,
        warnings=tuple(answer["warnings"]),
        grids=answer["grids"],
        outputs={name: OutputFacts.from_json(item) for name, item in answer["outputs"].items()},
    )


def _require_shapes(
    parameters: Parameters, shapes: Mapping[str, Sequence[int] | None], pools: Sequence[str]
) -> None:
    """Check that the outputs are as large as the config says, which inference may be wrong about.

    Raises:
        ModelError: It names the outputs and the pools.
    """
    findings = []
    for item in parameters.outputs:
        found = shapes.get(item.name)
        if found is None or not item.shape or tuple(found) == tuple(item.shape):
            continue
        findings.append(
            Finding(
                code="rvc4.pool",
                where=f"output {item.name!r}",
                message=f"it is {list(found)}, not {list(item.shape)}: ONNX's shape inference counts a "
                f"window of {', '.join(map(repr, pools))} (ceil_mode) that begins behind the frame.",
                remedy=f"Write {list(found)} into the config, or export with opset 22.",
            )
        )
    if findings:
        raise from_findings(ModelError, "The model", findings)


def prepare_file(
    source: str,
    target: str,
    simplified: bool,
    inputs: Sequence[Mapping[str, Any]],
    weight_bits: int,
    activation_bits: int,
    per_channel: bool,
    encoded: Sequence[str],
    folds: bool,
) -> dict[str, Any]:
    """The child's part of `prepare`."""
    import onnx_ir as ir
    from onnx_ir.passes import Sequential, common

    from converter.graph.copies import settle_copies
    from converter.graph.embed import EmbedPreprocessing, entries
    from converter.graph.masks import ClampMasks
    from converter.graph.opset import raise_opset
    from converter.graph.output_types import cast_outputs
    from converter.graph.outputs import output_facts
    from converter.graph.rewrite import Rewrite, static_shape
    from converter.graph.rules.folding import RULES as FOLDING
    from converter.graph.simplify import infer_shapes
    from converter.graph.single_precision import SinglePrecision
    from converter.graph.source import name_every_node, read_source
    from targets.rvc4.htp_rules import activations, pooling, shared, table, written_out
    from targets.rvc4.htp_rules.weights import UnshareWeights
    from targets.rvc4.not_taken import foreseen
    from targets.rvc4.quantization.source_grids import source_grids

    if refused := foreseen(Path(source), Severity.ERROR):
        raise from_findings(ModelError, "The model", refused)
    shapes = {item["name"]: tuple(item["shape"]) for item in inputs}
    # Where activations are quantized on the source's grids, nothing else has to cut them off.
    model, warnings, ranges = read_source(
        source, shapes, simplified=simplified, saturated=not weight_bits
    )
    model.ir_version = max(model.ir_version, 8)  # else onnx's converter wants weights as inputs
    model = raise_opset(model, _OPSET, _OPSET)
    if (opset := model.graph.opset_imports.get("", 0)) < _OPSET:
        warnings.append(
            f"onnx could not raise the graph from opset {opset} to {_OPSET}; QNN may refuse parts."
        )
    if activations.has_gelu_pattern(model):
        model = raise_opset(model, activations.GELU_OPSET, activations.GELU_OPSET)
    model = infer_shapes(model)
    outputs = output_facts(model)
    rules = table.groups(weight_bits, activation_bits, per_channel=per_channel, encoded=encoded)
    model = Sequential(
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        SinglePrecision(),
    )(model).model
    model = Sequential(
        *([Rewrite(written_out.RULES), Rewrite(FOLDING)] if folds and not ranges else []),
        Rewrite(shared.RECURRENT),
        common.RemoveUnusedNodesPass(),
    )(settle_copies(model)).model
    pools: list[str] = []
    while name := pooling.forget_wrong_shapes(model, pools):
        pools.append(name)
        Rewrite(table.POOLS)(model)
        model = infer_shapes(model)
    for group in rules:
        if Rewrite(group)(model).modified:
            model = infer_shapes(model)  # the next rules look at shapes, too
    model = Sequential(
        EmbedPreprocessing(entries(inputs), folding(weight_bits, per_channel, encoded)),
        common.IdentityEliminationPass(),
        UnshareWeights(),
        common.RemoveUnusedNodesPass(),
    )(model).model
    model = infer_shapes(model)
    ClampMasks()(model)
    # A DLC has int32. QNN's execution provider makes int64 of it where ArgMax itself is the output;
    # behind its own Transpose it fails ("data size does not match"), or the process crashes.
    # It casts no floats to fewer bits (in INT8 it hands on their codes).
    cast_outputs(model, _OTHER_INTEGERS, ir.DataType.INT32)
    name_every_node(model)
    _check_inputs(model)
    _check_outputs(model)
    _check_weights(model, _MULTIPLIED if not weight_bits else ())
    _free_names(model)
    name = Path(target).name
    ir.save(model, target, external_data=f"{name}.data", size_threshold_bytes=4096)
    grids = source_grids(model, ranges) if weight_bits else {}
    return {
        "warnings": warnings,
        "grids": grids,
        "pools": pools,
        "shapes": {str(value.name): static_shape(value) for value in model.graph.outputs},
        "outputs": {name: facts.to_json() for name, facts in outputs.items()},
    }


def _check_inputs(model: ir.Model) -> None:
    """Refuse inputs that no output depends on, such as those of a Shape only: QNN leaves them out.

    Raises:
        ModelError: It names each.
    """
    findings = [
        Finding(
            code="rvc4.tensor",
            where=f"input {value.name!r}",
            message="no output depends on its values; QNN has no such input.",
            remedy=f"Set inputs.{value.name}.frozen_value=0, or export the model without it.",
        )
        for value in model.graph.inputs
        if not value.uses() and not value.is_graph_output()
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def _check_outputs(model: ir.Model) -> None:
    """Refuse outputs that are constants, which QNN leaves out.

    Raises:
        ModelError: It names each.
    """
    computed = {id(value) for value in model.graph.inputs}
    for node in model.graph:
        if any(id(value) in computed for value in node.inputs):
            computed.update(id(value) for value in node.outputs)
    constants = [value for value in model.graph.outputs if id(value) not in computed]
    findings = [
        Finding(
            code="rvc4.tensor",
            where=f"output {value.name!r}",
            message="it is a constant, the same for every frame; QNN has no such output.",
            remedy="Keep its values on the host, and cut it off (--outputs takes the others).",
        )
        for value in constants
    ]
    if findings:
        raise from_findings(ModelError, "The model", findings)


def _check_weights(model: ir.Model, among: Sequence[str]) -> None:
    """Refuse constants that are no numbers, or infinite.

    Args:
        among: Infinite ones count as inputs of these operators only; of all if it is empty.

    Raises:
        ModelError: It names each with its node.
    """
    import numpy as np

    findings = []
    for value in model.graph.initializers.values():
        array = None if value.const_value is None else value.const_value.numpy()
        if array is None or array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        is_nan = bool(np.isnan(array).any())
        user = next((node for node, _ in value.uses()), None)
        if not is_nan and among and (user is None or user.op_type not in among):
            continue
        findings.append(
            Finding(
                code="rvc4.weights",
                where=f"weight {value.name!r}"
                + (f" of node {user.name!r} ({user.op_type})" if user else ""),
                message="it holds values that are no numbers (NaN)." if is_nan else "it is infinite.",
                remedy="Export the model again; it was damaged, or never trained."
                if is_nan
                else "Put a finite number into the model, such as -1e4 for a mask.",
            )
        )
    if findings:
        raise from_findings(ModelError, "The model", findings)


def _free_names(model: ir.Model) -> None:
    """Rename what is called as the quantizer will call its own: it would take one for the other."""
    graph = model.graph
    for value in list(graph.initializers.values()):
        if str(value.name).endswith(_TAKEN):
            value.name = f"{value.name}/own"
    for node in graph:
        for value in node.outputs:
            if str(value.name).endswith(_TAKEN) and not value.is_graph_output():
                value.name = f"{value.name}/own"


def folding(weight_bits: int, per_channel: bool, encoded: Sequence[str]) -> Any:
    """When scale and channel order go into the weights: where their format does not mind.

    Args:
        weight_bits: Of integers; 0 for float16.
        encoded: Weights whose encodings are given, and which therefore stay as they are.
    """
    from converter.graph.embed import FLOAT16, Folding, fixed_point_loss

    if not weight_bits:
        return FLOAT16
    loss = partial(fixed_point_loss, bits=weight_bits, per_channel=per_channel)
    return Folding(loss=loss, limit=0.005, mean=True, pointwise=True, keeps=frozenset(encoded))
